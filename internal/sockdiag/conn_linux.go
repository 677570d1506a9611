// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bufferSize is what a dump fills at most in one answer
	// (net/netlink/af_netlink.c: 32 KiB), with room to spare.
	bufferSize = 64 << 10
	// Timeout is how long a Conn waits for each answer.
	Timeout = 5 * time.Second
	// drainLimit bounds the answers thrown away after a failed dump.
	drainLimit = 4096
)

// Conn is a connection to sock_diag in the network namespace of the thread
// that opened it. It is for one goroutine at a time, and the functions handed
// to its dumps must not use it.
type Conn struct {
	fd     int
	seq    uint32
	closed bool
	dirty  bool // an answer was abandoned half way
	buf    []byte
	req    []byte
	sock   Socket
	unix   UnixSocket
}

// Open connects to the kernel. It needs no privilege.
func Open() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("open sock_diag: %w", err)
	}
	timeout := unix.NsecToTimeval(Timeout.Nanoseconds())
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout)
	if err == nil {
		// Connected, the socket takes messages from the kernel only.
		err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("set up sock_diag: %w", err)
	}
	return &Conn{
		fd:  fd,
		buf: make([]byte, bufferSize),
		req: make([]byte, 0, headerSize+inetRequestSize),
	}, nil
}

// Close ends the connection. More calls do nothing.
func (c *Conn) Close() error {
	if c.closed {
		return nil
	}
	c.closed = true
	if err := unix.Close(c.fd); err != nil {
		return fmt.Errorf("close sock_diag: %w", err)
	}
	return nil
}

// TCP calls fn for every TCP socket in one of the states, IPv4 first, with
// TCP_INFO where the kernel has it. The Socket is reused for the next call.
// When fn returns false the rest is skipped. ErrInterrupted is returned after
// everything was handed on.
func (c *Conn) TCP(states uint32, fn func(*Socket) bool) error {
	return c.inet(ProtocolTCP, states, extTCPInfo, fn)
}

// UDP calls fn for every UDP socket, like TCP.
func (c *Conn) UDP(states uint32, fn func(*Socket) bool) error {
	return c.inet(ProtocolUDP, states, 0, fn)
}

func (c *Conn) inet(protocol uint8, states uint32, ext uint8, fn func(*Socket) bool) error {
	var interrupted error
	more := true
	for _, family := range [...]uint8{FamilyIPv4, FamilyIPv6} {
		id := ID{Family: family, Protocol: protocol}
		seq := c.begin(inetRequestSize, typeByFamily, flagRequest|flagDump)
		c.req = appendInetRequest(c.req, &id, states, ext, false)
		err := c.exchange(seq, true, func(body []byte) error {
			if !more {
				return nil
			}
			if err := parseInet(body, protocol, &c.sock); err != nil {
				return err
			}
			more = fn(&c.sock)
			return nil
		})
		switch {
		case errors.Is(err, ErrInterrupted):
			interrupted = err
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EAFNOSUPPORT):
			// A kernel without this protocol has no sockets of it.
		case err != nil:
			return fmt.Errorf("dump sockets of protocol %d, family %d: %w", protocol, family, err)
		}
		if !more {
			break
		}
	}
	return interrupted
}

// Unix calls fn for every AF_UNIX socket, like TCP.
func (c *Conn) Unix(fn func(*UnixSocket) bool) error {
	more := true
	seq := c.begin(unixRequestSize, typeByFamily, flagRequest|flagDump)
	c.req = appendUnixRequest(c.req)
	err := c.exchange(seq, true, func(body []byte) error {
		if !more {
			return nil
		}
		if err := parseUnix(body, &c.unix); err != nil {
			return err
		}
		more = fn(&c.unix)
		return nil
	})
	if err != nil && !errors.Is(err, ErrInterrupted) {
		return fmt.Errorf("dump unix sockets: %w", err)
	}
	return err
}

// Lookup returns the one socket that has this address and this cookie, as it
// is now. It returns ErrNotFound where there is none, ErrNoCookie or
// ErrInvalidID where the ID names no single socket.
func (c *Conn) Lookup(id ID) (Socket, error) {
	var found Socket
	if err := id.check(); err != nil {
		return found, err
	}
	// udp_dump_one takes source and destination the other way round.
	swapped := id.Protocol == ProtocolUDP
	seq := c.begin(inetRequestSize, typeByFamily, flagRequest)
	c.req = appendInetRequest(c.req, &id, AllStates, extTCPInfo, swapped)
	err := c.exchange(seq, false, func(body []byte) error {
		return parseInet(body, id.Protocol, &found)
	})
	if err != nil {
		return Socket{}, fmt.Errorf("look up socket: %w", err)
	}
	if found.Cookie != id.Cookie {
		return Socket{}, fmt.Errorf("look up socket: %w", ErrNotFound)
	}
	return found, nil
}

// Destroy closes the one socket that has this address and this cookie
// (tcp_abort, udp_abort): its owner's calls fail with ECONNABORTED, a TCP peer
// gets a reset. It needs CAP_NET_ADMIN in the user namespace of the network
// namespace. It returns ErrNotFound where there is none such, ErrNoCookie or
// ErrInvalidID without asking the kernel, unix.EPERM without the capability
// (looked at only once the socket is found: a wrong ID does not probe for it),
// and unix.EOPNOTSUPP from a kernel without CONFIG_INET_DIAG_DESTROY.
func (c *Conn) Destroy(id ID) error {
	if err := id.check(); err != nil {
		return err
	}
	seq := c.begin(inetRequestSize, typeDestroy, flagRequest|flagAck)
	c.req = appendInetRequest(c.req, &id, AllStates, 0, false)
	err := c.exchange(seq, false, func([]byte) error { return nil })
	if err != nil {
		return fmt.Errorf("destroy socket: %w", err)
	}
	return nil
}
