// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// acted is the honest account of one act.
type acted struct {
	done    bool
	raced   bool
	refused *Verdict // of the guard whose proof failed at the last moment
	why     string   // why it was not done, or what went wrong
	before  uint8
	after   uint8
	window  time.Duration // from the last look to the end of the act
}

func (a *acted) refuse(v *Verdict) { a.refused, a.why = v, v.Reason }

// shutdown is the action socket.shutdown: it ends the connection in both
// directions through a copy of the descriptor (man 2 pidfd_getfd). The owner's
// descriptor stays; readers wake with end of file. ask is put with the copy in
// hand; a verdict it returns refuses.
func (h *host) shutdown(process *leak.Process, w *watched, ask func() *Verdict) acted {
	var a acted
	p := h.prove(process, &w.key, &w.last.id, func(copied int, p *proof) {
		// The last look is the newest of the questions, repeated here so that
		// nothing but it lies before the act.
		start := time.Now()
		if refused := ask(); refused != nil {
			a.refuse(refused)
			return
		}
		last, err := readInfo(copied)
		if err != nil {
			p.unread = err.Error()
			return
		}
		if why, moved := last.changed(&w.first); moved {
			a.raced, a.why = true, why
			return
		}
		err = unix.Shutdown(copied, unix.SHUT_RDWR)
		a.window = time.Since(start)
		a.before = last.state
		if err != nil {
			a.raced, a.why = errors.Is(err, unix.ENOTCONN), "shutdown: "+err.Error()
			return
		}
		a.done = true
		next, err := readInfo(copied)
		if err != nil {
			a.after = last.state
			return
		}
		a.after = next.state
		// The peer's end of stream counts as one byte of an ESTABLISHED socket.
		if next.received > last.received+1 {
			a.raced, a.why = true, "bytes arrived between the last look and the act"
		}
	})
	if !a.done && a.why == "" {
		a.why, a.refused = p.why(), p.refusal()
	}
	return a
}

// destroy is the action socket.destroy: SOCK_DESTROY by address and cookie.
// The descriptor is proven first, and its copy is closed before the act.
func (h *host) destroy(diag *sockdiag.Conn, process *leak.Process, w *watched, ask func() *Verdict) acted {
	var a acted
	start := time.Now()
	p := h.prove(process, &w.key, &w.last.id, nil)
	if !p.ok() {
		a.why, a.refused = p.why(), p.refusal()
		return a
	}
	if why, moved := p.info.changed(&w.first); moved {
		a.raced, a.why = true, why
		return a
	}
	if refused := ask(); refused != nil {
		a.refuse(refused)
		return a
	}
	err := diag.Destroy(w.last.id)
	a.window = time.Since(start)
	a.before, a.after = p.info.state, p.info.state
	switch {
	case errors.Is(err, sockdiag.ErrNotFound):
		a.raced, a.why = true, "the socket was gone"
	case err != nil:
		a.why = err.Error()
	default:
		a.done, a.after = true, sockdiag.StateClose
	}
	return a
}
