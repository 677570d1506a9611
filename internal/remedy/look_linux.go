// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"net/netip"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
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
}

// maxDumps is how often a dump that the kernel interrupted is tried again.
const maxDumps = 3

// lookAt reads the sockets with these inodes, the ports that are listened on,
// and which other ends are there. A dump goes on by position in a hash chain
// and may pass over a socket while others close, so that only what is in it
// says something: an end that is not seen stays peerUnknown.
func lookAt(diag *sockdiag.Conn, wanted map[uint64]bool) (*tables, error) {
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
	for _, s := range t.sights {
		s.peer = ends[conn{unmapped(s.id.Remote), unmapped(s.id.Local)}]
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
