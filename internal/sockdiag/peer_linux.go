// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// Peer says what our network namespace knows of the other end of a connection.
type Peer uint8

const (
	// PeerAbsent means that no socket has the other end's addresses.
	PeerAbsent Peer = iota
	// PeerHeld means that a process holds it, or may still accept it.
	PeerHeld
	// PeerOrphan means that its owner has closed it: it is on its way out.
	PeerOrphan
)

// loopbackIndex is the index of lo in every namespace (LOOPBACK_IFINDEX,
// include/linux/netdevice.h).
const loopbackIndex = 1

// FindPeer asks the kernel for the other end of the TCP connection whose one
// end is id, by an exact look-up of the reversed addresses. Unlike absence in a
// dump, which goes on by position in a hash chain and may pass over a socket
// while others close (net/ipv4/inet_diag.c), PeerAbsent is the kernel's word
// for this moment.
func (c *Conn) FindPeer(id *ID) (Peer, error) {
	reversed := ID{
		Family: FamilyIPv6, Protocol: ProtocolTCP, Local: unmap(id.Remote), Remote: unmap(id.Local), Cookie: noCookie,
	}
	if reversed.Local.Addr().Is4() {
		reversed.Family = FamilyIPv4 // finds sockets of either family
	}
	if reversed.Local.Addr().Is4() != reversed.Remote.Addr().Is4() || !reversed.Local.IsValid() || !reversed.Remote.IsValid() {
		return PeerAbsent, fmt.Errorf("find peer of %v and %v: %w", id.Local, id.Remote, ErrInvalidID)
	}
	for _, device := range []uint32{0, loopbackIndex, id.Interface} {
		if peer, err := c.peerOn(&reversed, device); err != nil || peer != PeerAbsent {
			return peer, err
		}
	}
	// A socket that is bound to a device is found under its index only.
	devices, err := net.Interfaces()
	if err != nil {
		return PeerAbsent, fmt.Errorf("find peer: %w", err)
	}
	for i := range devices {
		if peer, err := c.peerOn(&reversed, uint32(devices[i].Index)); err != nil || peer != PeerAbsent {
			return peer, err
		}
	}
	return PeerAbsent, nil
}

func (c *Conn) peerOn(reversed *ID, device uint32) (Peer, error) {
	reversed.Interface = device
	found, err := c.find(reversed)
	if errors.Is(err, ErrNotFound) {
		return PeerAbsent, nil
	}
	if err != nil {
		return PeerAbsent, fmt.Errorf("find peer: %w", err)
	}
	// Where no connection fits, the look-up ends at the listener.
	if found.State != StateListen && unmap(found.Remote) == reversed.Remote && unmap(found.Local) == reversed.Local {
		return found.end(), nil
	}
	return PeerAbsent, nil
}

func (c *Conn) find(id *ID) (Socket, error) {
	var found Socket
	seq := c.begin(inetRequestSize, typeByFamily, flagRequest)
	c.req = appendInetRequest(c.req, id, AllStates, 0, false)
	err := c.exchange(seq, false, func(body []byte) error {
		return parseInet(body, id.Protocol, &found)
	})
	return found, err
}

// end judges a socket as the other end of a connection. One that waits to be
// accepted has no inode either, but is not closing.
func (s *Socket) end() Peer {
	if s.Inode != 0 {
		return PeerHeld
	}
	switch s.State {
	case StateFinWait1, StateFinWait2, StateTimeWait, StateClosing, StateLastAck, StateClose:
		return PeerOrphan
	default:
		return PeerHeld
	}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
