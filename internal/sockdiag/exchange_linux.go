// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

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
