// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"net/netip"
	"time"
)

// Address families and protocols that an ID may name (Linux numbers, the same
// on every architecture).
const (
	FamilyIPv4 = 2
	FamilyIPv6 = 10

	ProtocolTCP = 6
	ProtocolUDP = 17
)

// States of a socket (include/net/tcp_states.h). UDP sockets are Established
// when connected and Close otherwise.
const (
	StateEstablished uint8 = iota + 1
	StateSynSent
	StateSynRecv
	StateFinWait1
	StateFinWait2
	StateTimeWait
	StateClose
	StateCloseWait
	StateLastAck
	StateListen
	StateClosing
	StateNewSynRecv
	StateBoundInactive // bound, but neither connected nor listening; Linux 6.8 and later
)

// AllStates selects sockets in every state.
const AllStates uint32 = 1<<(StateBoundInactive+1) - 2

// StateMask selects sockets in the given states.
func StateMask(states ...uint8) uint32 {
	var mask uint32
	for _, s := range states {
		if s < 32 {
			mask |= 1 << s
		}
	}
	return mask
}

// StateName returns the value of network.connection.state for a state
// (semconv, registry/attributes/network), and "" for a number without one.
func StateName(state uint8) string {
	switch state {
	case StateEstablished:
		return "established"
	case StateSynSent:
		return "syn_sent"
	case StateSynRecv, StateNewSynRecv:
		return "syn_received"
	case StateFinWait1:
		return "fin_wait_1"
	case StateFinWait2:
		return "fin_wait_2"
	case StateTimeWait:
		return "time_wait"
	case StateClose, StateBoundInactive:
		return "closed"
	case StateCloseWait:
		return "close_wait"
	case StateLastAck:
		return "last_ack"
	case StateListen:
		return "listen"
	case StateClosing:
		return "closing"
	default:
		return ""
	}
}

var (
	// ErrNotFound means that no socket has this address and cookie. It is
	// expected trouble: sockets close.
	ErrNotFound = errors.New("no such socket")
	// ErrInterrupted means that a table changed under a dump so that entries
	// may be missing or twice. What was read has been handed on.
	ErrInterrupted = errors.New("socket dump was interrupted")
	// ErrTimeout means that the kernel did not answer in time.
	ErrTimeout = errors.New("kernel did not answer")
	// ErrMalformed means that an answer could not be understood.
	ErrMalformed = errors.New("malformed socket message")
	// ErrNoCookie means that an operation which needs the cookie of one certain
	// socket got none, or the wildcard.
	ErrNoCookie = errors.New("socket id has no cookie")
	// ErrInvalidID means that an ID is not one of a socket: family and
	// addresses do not fit, or the protocol is unknown.
	ErrInvalidID = errors.New("invalid socket id")
	// ErrClosed means that the Conn was closed.
	ErrClosed = errors.New("sock_diag connection is closed")
)

// noCookie is the kernel's wildcard (INET_DIAG_NOCOOKIE in both words).
const noCookie = ^uint64(0)

// ID names one socket of one network namespace. The cookie is unique for the
// life of the kernel and never reused: with it, an ID cannot name another
// socket later.
type ID struct {
	Family    uint8 // FamilyIPv4 or FamilyIPv6
	Protocol  uint8 // ProtocolTCP or ProtocolUDP
	Local     netip.AddrPort
	Remote    netip.AddrPort // of unconnected sockets: unspecified address, port 0
	Interface uint32         // index of the interface bound to, 0 for none
	Cookie    uint64
}

// Socket is one line of a dump. Queues are in bytes (of a listener: the
// accept queue and its limit). The times say how long ago; they and the byte
// counts are known where HasInfo is set (struct tcp_info, man 7 tcp).
type Socket struct {
	ID
	State     uint8
	UID       uint32
	Inode     uint32 // inode of sockfs; 0 where no descriptor holds the socket any more
	RecvQueue uint32
	SendQueue uint32

	HasInfo       bool
	LastDataSent  time.Duration
	LastDataRecv  time.Duration
	LastAckRecv   time.Duration
	BytesAcked    uint64
	BytesReceived uint64
	BytesSent     uint64 // Linux 4.19 and later, else 0
}

// UnixSocket is one line of a dump of AF_UNIX sockets.
type UnixSocket struct {
	Type   uint8 // SOCK_STREAM, SOCK_DGRAM or SOCK_SEQPACKET
	State  uint8 // StateEstablished, StateListen or StateClose
	Inode  uint32
	Peer   uint32 // inode of the other end, 0 if not connected or not told
	Cookie uint64
	// Name is the bound name, empty if unnamed; an abstract name begins with a
	// zero byte. It is valid only during the call, and its bytes are the
	// program's choice.
	Name []byte
}
