// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// nobodyAsks lets an act be judged by what else refuses it.
func nobodyAsks() *Verdict { return nil }

func init() {
	moreOrders["read"] = func(o *order) error {
		_, err := unix.Read(o.FD, make([]byte, 1))
		return err
	}
	// The same socket, with inode and cookie: disconnected (man 2 connect), and
	// then made to listen.
	moreOrders["listen again"] = func(o *order) error {
		if err := disconnect(o.FD); err != nil {
			return err
		}
		return unix.Listen(o.FD, 16)
	}
}

func disconnect(fd int) error {
	unspec := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec))
	if errno != 0 {
		return errno
	}
	return nil
}
