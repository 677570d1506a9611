// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// verdictOn is what an object's own state says of an act.
type verdictOn struct {
	typ   Type
	freed string
	after string
	why   string
	final bool
}

// verify looks at the object by its cookie: never at counts, since others
// open and close too.
func (h *host) verify(diag *sockdiag.Conn, process *leak.Process, o *Object, before uint8) verdictOn {
	now, err := h.find(diag, process, o)
	var v verdictOn
	switch {
	case errors.Is(err, sockdiag.ErrNotFound):
		v = verdictOn{typ: TypeVerified, after: "none", why: "the connection is in no table any more", final: true}
	case err != nil:
		return verdictOn{typ: TypeUnknown, why: err.Error()}
	case now.State == before:
		return verdictOn{
			typ: TypeFailed, after: sockdiag.StateName(now.State),
			why: "the connection is still " + sockdiag.StateName(before),
		}
	default:
		v = verdictOn{
			typ: TypeVerified, after: sockdiag.StateName(now.State), final: true,
			why: fmt.Sprintf("the connection went from %s to %s", sockdiag.StateName(before), sockdiag.StateName(now.State)),
		}
	}
	if why, same := h.sameProcess(process); !same {
		return verdictOn{typ: TypeUnknown, after: v.after, why: "the process has ended: " + why, final: true}
	}
	v.freed = "connection"
	if !h.holds(process.PID, o.FD, o.Inode) {
		v.freed = "connection and descriptor"
	}
	return v
}

// find asks for a socket. One that is bound to an interface is found by that
// interface only, and its owner may bind it anew at any time: while the
// descriptor leads to it, it is in no table only if it is in none of them.
func (h *host) find(diag *sockdiag.Conn, process *leak.Process, o *Object) (sockdiag.Socket, error) {
	id := sockdiag.ID{
		Family: o.Family, Protocol: o.Protocol, Local: o.Local, Remote: o.Remote, Cookie: o.Cookie, Interface: o.Interface,
	}
	found, err := diag.Lookup(id)
	if !errors.Is(err, sockdiag.ErrNotFound) || !h.holds(process.PID, o.FD, o.Inode) {
		return found, err
	}
	interfaces, listErr := net.Interfaces()
	if listErr != nil {
		return found, fmt.Errorf("list interfaces: %w", listErr)
	}
	for _, i := range interfaces {
		id.Interface = uint32(i.Index)
		if found, err = diag.Lookup(id); !errors.Is(err, sockdiag.ErrNotFound) {
			break
		}
	}
	return found, err
}

// holds reports whether a descriptor still leads to the socket.
func (h *host) holds(pid, fd int32, inode uint64) bool {
	var buf [64]byte
	n, err := unix.Readlink(h.path(pid, fmt.Sprintf("fd/%d", fd)), buf[:])
	if err != nil {
		return !gone(err)
	}
	found, ok := socketInode(buf[:n])
	return ok && found == inode
}
