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

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// peerSight says what is known of the other end of a connection.
type peerSight uint8

const (
	peerUnknown        peerSight = iota // not seen in a dump, and not asked for: says nothing
	peerRemote                          // on another host or in another network namespace
	peerAlive                           // some descriptor of this host holds it
	peerOrphan                          // in the tables, closed, held by nobody
	peerAbsentLoopback                  // a loopback address, and not in our tables
	peerAbsentLocal                     // another address of ours, and not in our tables: may be behind address translation
)

// peerFinder is the exact look-up of sockdiag. Only it may say that an end is
// not there.
type peerFinder interface {
	FindPeer(id *sockdiag.ID) (sockdiag.Peer, error)
}

// vicinity is what must be known besides to judge an absent end.
type vicinity struct {
	ours               func(netip.Addr) bool
	translatedLoopback bool
}

func lookAround(proc string) (vicinity, error) {
	ours, err := ownAddresses()
	return vicinity{ours: ours, translatedLoopback: loopbackIsTranslated(proc)}, err
}

// askPeer asks for the other end of a connection, now.
func askPeer(diag peerFinder, id *sockdiag.ID, around vicinity) (peerSight, error) {
	found, err := diag.FindPeer(id)
	if err != nil {
		return peerUnknown, err
	}
	switch found {
	case sockdiag.PeerAbsent:
		return around.absent(id.Remote.Addr().Unmap()), nil
	case sockdiag.PeerOrphan:
		return peerOrphan, nil
	default:
		return peerAlive, nil
	}
}

func (v *vicinity) absent(remote netip.Addr) peerSight {
	switch {
	case remote.IsLoopback() && !v.translatedLoopback:
		return peerAbsentLoopback
	case remote.IsLoopback() || v.ours(remote):
		return peerAbsentLocal
	default:
		return peerRemote
	}
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
