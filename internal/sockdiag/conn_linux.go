// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"fmt"
	"time"
	"unsafe"

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
// ErrInvalidID without asking the kernel, unix.EPERM without the capability,
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

// begin starts a request in c.req; the caller appends its body.
func (c *Conn) begin(size int, typ, flags uint16) uint32 {
	c.seq++
	c.req = appendHeader(c.req[:0], size, typ, flags, c.seq)
	return c.seq
}

// exchange sends c.req and calls fn for each message of the answer: up to its
// end for a dump, else up to the one message, or acknowledgement, expected.
func (c *Conn) exchange(seq uint32, dump bool, fn func(body []byte) error) error {
	if c.closed {
		return ErrClosed
	}
	if c.dirty {
		if err := c.drain(); err != nil {
			return err
		}
	}
	if err := c.send(); err != nil {
		return err
	}
	c.dirty = true
	interrupted := false
	for {
		n, err := c.receive(0)
		if err != nil {
			return err
		}
		done, err := answer(c.buf[:n], seq, dump, &interrupted, fn)
		if err != nil {
			return err
		}
		if done {
			c.dirty = false
			if interrupted {
				return ErrInterrupted
			}
			return nil
		}
	}
}

// answer handles one datagram. It reports whether the answer is complete.
func answer(datagram []byte, seq uint32, dump bool, interrupted *bool, fn func([]byte) error) (bool, error) {
	for len(datagram) >= headerSize {
		m, rest, err := next(datagram)
		if err != nil {
			return false, err
		}
		datagram = rest
		if m.seq != seq {
			continue // of a request given up earlier
		}
		if m.flags&flagDumpIntr != 0 {
			*interrupted = true
		}
		switch m.typ {
		case msgDone, msgError:
			code, err := m.errno()
			if err != nil {
				return false, err
			}
			return true, kernelError(code)
		case typeByFamily, typeDestroy:
			if err := fn(m.body); err != nil {
				return false, err
			}
			if !dump {
				return true, nil
			}
		}
	}
	return false, nil
}

func kernelError(code int32) error {
	switch errno := unix.Errno(code); errno {
	case 0:
		return nil
	case unix.ENOENT, unix.ESTALE:
		return fmt.Errorf("%w: %w", ErrNotFound, errno)
	default:
		return errno
	}
}

// drain throws away what an abandoned answer left behind, since the kernel
// refuses a dump while another is under way on the same socket.
func (c *Conn) drain() error {
	for range drainLimit {
		if _, err := c.receive(unix.MSG_DONTWAIT); err != nil {
			if errors.Is(err, ErrTimeout) {
				c.dirty = false
				return nil
			}
			if !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, ErrMalformed) {
				return err
			}
		}
	}
	return fmt.Errorf("%w: an abandoned answer does not end", ErrTimeout)
}

func (c *Conn) send() error {
	for {
		_, err := unix.Write(c.fd, c.req)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("send to sock_diag: %w", err)
		}
	}
}

// receive reads one datagram into c.buf. It is a bare recvfrom, since those
// of package unix allocate a sender's address for every call.
func (c *Conn) receive(flags int) (int, error) {
	for {
		n, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(c.fd), uintptr(unsafe.Pointer(&c.buf[0])),
			uintptr(len(c.buf)), uintptr(flags|unix.MSG_TRUNC), 0, 0)
		switch {
		case errno == unix.EINTR:
			continue
		case errno == unix.EAGAIN:
			return 0, ErrTimeout
		case errno != 0:
			return 0, fmt.Errorf("receive from sock_diag: %w", errno)
		case n > uintptr(len(c.buf)):
			return 0, fmt.Errorf("%w: answer of %d bytes does not fit", ErrMalformed, n)
		default:
			return int(n), nil
		}
	}
}
