// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

type socket struct {
	transport     uint8
	state         uint8
	local, remote netip.AddrPort
	device        uint32        // index of the one it is bound to, 0 if none
	idle          time.Duration // since the last byte in either direction; -1 where unknown
	bytes         uint64        // in both directions
	nameAt        uint32        // of AF_UNIX, in sockets.names
	nameLen       uint8
}

type tuple struct{ local, remote netip.AddrPort }

// sockets is the dump of one scan, shared by all processes of it. It is made
// when the first socket is met.
type sockets struct {
	conn   *sockdiag.Conn
	limit  int
	loaded bool
	broken bool // the dump failed: absence means nothing
	stats  *Stats

	index  map[uint32]int32
	list   []socket
	names  []byte
	listen [1 << 16 / 64]uint64

	loose       []looseEnd // TCP sockets that no descriptor leads to
	peers       map[tuple]peerEnd
	translated  bool // connections may be translated: absence of a peer means nothing
	addresses   map[netip.Addr]struct{}
	peersLoaded bool

	addTCP  func(*sockdiag.Socket) bool
	addUDP  func(*sockdiag.Socket) bool
	addUnix func(*sockdiag.UnixSocket) bool
}

func newSockets(limit int, stats *Stats) *sockets {
	s := &sockets{
		limit: limit, stats: stats, index: map[uint32]int32{},
		peers: map[tuple]peerEnd{}, addresses: map[netip.Addr]struct{}{},
	}
	s.addTCP = func(k *sockdiag.Socket) bool { return s.addInet(TransportTCP, k) }
	s.addUDP = func(k *sockdiag.Socket) bool { return s.addInet(TransportUDP, k) }
	s.addUnix = s.addLocal
	return s
}

func (s *sockets) close() error {
	if s.conn == nil {
		return nil
	}
	err := s.conn.Close()
	s.conn = nil
	return err //nolint:wrapcheck // says what it is
}

// reset forgets the dump of the scan before.
func (s *sockets) reset() {
	s.loaded, s.broken, s.peersLoaded = false, false, false
}

// load dumps, once a scan.
func (s *sockets) load() {
	if s.loaded {
		return
	}
	s.loaded = true
	clear(s.index)
	s.list = s.list[:0]
	s.loose = s.loose[:0]
	s.names = s.names[:0]
	clear(s.listen[:])
	if err := s.dump(); err != nil {
		s.stats.SocketDumpErrors++
	}
}

func (s *sockets) dump() error {
	if s.conn == nil {
		conn, err := sockdiag.Open()
		if err != nil {
			s.broken = true
			return fmt.Errorf("dump sockets: %w", err)
		}
		s.conn = conn
	}
	tcp := s.conn.TCP(sockdiag.AllStates, s.addTCP)
	s.broken = tcp != nil
	return errors.Join(tcp, s.conn.UDP(sockdiag.AllStates, s.addUDP), s.conn.Unix(s.addUnix))
}

func (s *sockets) addInet(transport uint8, k *sockdiag.Socket) bool {
	if transport == TransportTCP && k.State == sockdiag.StateListen {
		port := k.Local.Port()
		s.listen[port/64] |= 1 << (port % 64)
	}
	if k.State == sockdiag.StateTimeWait || !s.room() {
		return true
	}
	if k.Inode == 0 { // no process holds it, or none has accepted it yet
		if transport == TransportTCP {
			s.loose = append(s.loose, looseEnd{tuple{unmap(k.Local), unmap(k.Remote)}, k.State})
		}
		return true
	}
	e := socket{transport: transport, state: k.State, local: k.Local, remote: k.Remote, device: k.Interface, idle: -1}
	if k.HasInfo {
		e.idle = min(k.LastDataSent, k.LastDataRecv)
		e.bytes = k.BytesReceived + k.BytesAcked
	}
	s.put(k.Inode, &e)
	return true
}

func (s *sockets) addLocal(k *sockdiag.UnixSocket) bool {
	if k.Inode != 0 && s.room() {
		e := socket{
			transport: TransportUnix, state: k.State, idle: -1,
			nameAt: uint32(len(s.names)), nameLen: uint8(min(len(k.Name), 255)),
		}
		s.names = append(s.names, k.Name[:e.nameLen]...)
		s.put(k.Inode, &e)
	}
	return true
}

func (s *sockets) room() bool {
	if len(s.list)+len(s.loose) >= s.limit {
		s.stats.SocketsRefused++
		return false
	}
	return true
}

func (s *sockets) put(inode uint32, e *socket) {
	s.index[inode] = int32(len(s.list))
	s.list = append(s.list, *e)
}

// find returns the socket of an inode, nil where the kernel's tables have none.
func (s *sockets) find(inode uint64) *socket {
	if at, ok := s.index[uint32(inode)]; ok && inode>>32 == 0 {
		return &s.list[at]
	}
	return nil
}

func (s *sockets) listens(port uint16) bool { return s.listen[port/64]&(1<<(port%64)) != 0 }

// ephemeralPort begins the range from which the kernel takes ports for
// sockets that did not ask for one (ip_local_port_range).
const ephemeralPort = 32768

// site names the site of a socket (vocabulary.md).
func (s *sockets) site(e *socket) string {
	switch e.transport {
	case TransportUnix:
		name := s.names[e.nameAt:][:e.nameLen]
		if len(name) == 0 {
			return "unix"
		}
		if name[0] == 0 {
			return "@" + string(name[1:])
		}
		return string(name)
	case TransportUDP:
		if e.remote.Port() == 0 && e.local.Port() >= ephemeralPort {
			return "udp" // a client that sends without connecting: its port says nothing
		}
	}
	return leak.SocketSite(e.local, e.remote, s.listens)
}

// peerEnd is what the tables say of the other end of a connection.
type peerEnd uint8

const (
	peerAbsent peerEnd = iota
	peerHeld           // a process holds it, or may accept it
	peerOrphan         // closed by its owner, and not yet gone
)

type looseEnd struct {
	tuple
	state uint8
}

// end judges a socket that no descriptor leads to. One that waits to be
// accepted is not closing.
func (l *looseEnd) end() peerEnd {
	switch l.state {
	case sockdiag.StateFinWait1, sockdiag.StateFinWait2, sockdiag.StateClosing, sockdiag.StateLastAck, sockdiag.StateClose:
		return peerOrphan
	default:
		return peerHeld
	}
}

// peerGone reports that the other end of a TCP connection is on this host, in
// our network namespace, and that no process holds it any more. Where the
// other end cannot be seen, nothing is known, and it reports false. seen
// remembers that the other end was once in the tables: where connections may
// be translated (a redirected port, a published container), only the absence
// of what was there before means anything.
func (s *sockets) peerGone(e *socket, seen *bool) bool {
	if s.broken || s.stats.SocketsRefused > 0 {
		return false
	}
	s.loadPeers()
	local, remote := unmap(e.local), unmap(e.remote)
	_, own := s.addresses[remote.Addr()]
	if !own && !remote.Addr().IsLoopback() && remote.Addr() != local.Addr() {
		return false
	}
	switch s.peers[tuple{local: remote, remote: local}] {
	case peerHeld:
		*seen = true
		return false
	case peerOrphan:
		*seen = true
		return true
	default:
		return *seen || !s.translated
	}
}

// peerSurelyGone asks the kernel once more, by exact look-up: a dump may pass
// over a living socket, so that its silence is a hint and no proof.
func (s *sockets) peerSurelyGone(e *socket, seen *bool) bool {
	peer, err := s.conn.FindPeer(&sockdiag.ID{
		Family: sockdiag.FamilyIPv6, Protocol: sockdiag.ProtocolTCP, Local: e.local, Remote: e.remote, Interface: e.device,
	})
	switch {
	case err != nil:
		s.stats.SocketDumpErrors++
		return false
	case peer == sockdiag.PeerAbsent:
		return *seen || !s.translated
	default:
		*seen = true
		return peer == sockdiag.PeerOrphan
	}
}

func (s *sockets) loadPeers() {
	if s.peersLoaded {
		return
	}
	s.peersLoaded = true
	s.translated = sockdiag.Tracked("/proc")
	clear(s.peers)
	clear(s.addresses)
	for i := range s.loose {
		s.peers[s.loose[i].tuple] = s.loose[i].end()
	}
	for i := range s.list {
		if e := &s.list[i]; e.transport == TransportTCP {
			s.peers[tuple{unmap(e.local), unmap(e.remote)}] = peerHeld
		}
	}
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return // loopback is recognised without
	}
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil {
			s.addresses[prefix.Addr().Unmap()] = struct{}{}
		}
	}
}

func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
