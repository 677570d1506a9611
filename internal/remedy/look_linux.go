// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// peerSight says what is known of the other end of a connection.
type peerSight uint8

const (
	peerUnknown        peerSight = iota // the tables could not be read as a whole
	peerRemote                          // on another host or in another network namespace
	peerAlive                           // some descriptor of this host holds it
	peerOrphan                          // in the tables, closed, held by nobody
	peerAbsentLoopback                  // a loopback address, and in no table
	peerAbsentLocal                     // another address of ours, and in no table: may be behind address translation
)

// conn names a connection from one end.
type conn struct{ local, remote netip.AddrPort }

func unmapped(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

// tables is one look at the TCP sockets of our network namespace.
type tables struct {
	sights    map[uint64]*sight // by inode, of those asked for
	listening map[uint16]bool
	whole     bool // nothing was missed
}

// maxDumps is how often a dump that the kernel interrupted is tried again.
const maxDumps = 3

// lookAt reads the sockets with these inodes, the ports that are listened on,
// and whether the other ends are there.
func lookAt(diag *sockdiag.Conn, wanted map[uint64]bool, ours func(netip.Addr) bool, translatedLoopback bool) (*tables, error) {
	t := &tables{}
	err := retried(func() error {
		t.sights, t.listening = make(map[uint64]*sight, len(wanted)), map[uint16]bool{}
		return diag.TCP(sockdiag.AllStates, func(s *sockdiag.Socket) bool {
			if s.State == sockdiag.StateListen {
				t.listening[s.Local.Port()] = true
			}
			if s.Inode != 0 && wanted[uint64(s.Inode)] {
				t.sights[uint64(s.Inode)] = sightOf(s)
			}
			return true
		})
	})
	if err != nil {
		return nil, err
	}
	ends := make(map[conn]peerSight, len(t.sights))
	for _, s := range t.sights {
		ends[conn{unmapped(s.id.Remote), unmapped(s.id.Local)}] = peerUnknown
	}
	err = retried(func() error {
		return diag.TCP(sockdiag.AllStates, func(s *sockdiag.Socket) bool {
			key := conn{unmapped(s.Local), unmapped(s.Remote)}
			if _, ok := ends[key]; ok {
				ends[key] = endOfPeer(s)
			}
			return true
		})
	})
	if err != nil && !errors.Is(err, sockdiag.ErrInterrupted) {
		return nil, err
	}
	t.whole = err == nil
	for _, s := range t.sights {
		seen := ends[conn{unmapped(s.id.Remote), unmapped(s.id.Local)}]
		if seen == peerUnknown && t.whole {
			seen = absent(s.id.Remote.Addr().Unmap(), ours, translatedLoopback)
		}
		s.peer = seen
	}
	return t, nil
}

func retried(dump func() error) error {
	var err error
	for range maxDumps {
		if err = dump(); !errors.Is(err, sockdiag.ErrInterrupted) {
			return err
		}
	}
	return err
}

// endOfPeer judges the other end by its own line. A connection that waits to
// be accepted has no inode either, but its state is not one of closing.
func endOfPeer(s *sockdiag.Socket) peerSight {
	if s.Inode != 0 {
		return peerAlive
	}
	switch s.State {
	case sockdiag.StateFinWait1, sockdiag.StateFinWait2, sockdiag.StateTimeWait, sockdiag.StateClosing,
		sockdiag.StateLastAck, sockdiag.StateClose:
		return peerOrphan
	default:
		return peerAlive
	}
}

func absent(remote netip.Addr, ours func(netip.Addr) bool, translatedLoopback bool) peerSight {
	switch {
	case remote.IsLoopback() && !translatedLoopback:
		return peerAbsentLoopback
	case remote.IsLoopback() || ours(remote):
		return peerAbsentLocal
	default:
		return peerRemote
	}
}

func sightOf(s *sockdiag.Socket) *sight {
	return &sight{
		id: s.ID, state: s.State, uid: s.UID, hasInfo: s.HasInfo,
		acked: s.BytesAcked, received: s.BytesReceived, sent: s.BytesSent,
		recvQueue: s.RecvQueue, sendQueue: s.SendQueue, lastData: min(s.LastDataSent, s.LastDataRecv),
	}
}

func (t *tables) site(s *sight) string {
	return leak.SocketSite(s.id.Local, s.id.Remote, func(port uint16) bool { return t.listening[port] })
}

// ownAddresses returns whether an address is one of this host, in our network
// namespace.
func ownAddresses() (func(netip.Addr) bool, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	own := make(map[netip.Addr]bool, len(addrs))
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			own[prefix.Addr().Unmap().WithZone("")] = true
		}
	}
	return func(a netip.Addr) bool { return a.IsLoopback() || own[a.Unmap().WithZone("")] }, nil
}

// loopbackIsTranslated reports whether a loopback peer may be under another
// address: where connections are tracked (a redirected port), or packets for
// 127.0.0.0/8 may leave the host (route_localnet,
// Documentation/networking/ip-sysctl.rst). Unsure means yes.
func loopbackIsTranslated(proc string) bool {
	if sockdiag.Tracked(proc) {
		return true
	}
	dir := filepath.Join(proc, "sys/net/ipv4/conf")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return true
	}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name(), "route_localnet"))
		if err != nil && !errors.Is(err, os.ErrNotExist) || err == nil && strings.TrimSpace(string(text)) != "0" {
			return true
		}
	}
	return false
}
