// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The calls below are bare because those of package unix copy every path to
// the heap. Paths end with a zero byte.

func openat(dir int, path []byte) (int, unix.Errno) {
	for {
		fd, _, errno := unix.Syscall6(unix.SYS_OPENAT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
			unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE, 0, 0, 0)
		if errno != unix.EINTR {
			return int(fd), errno
		}
	}
}

// statx never asks a server: a program may lie on a file system that hangs.
func statx(dir int, path []byte, st *unix.Statx_t) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_STATX, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
		unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_BASIC_STATS, uintptr(unsafe.Pointer(st)), 0)
	return errno
}

func readlinkat(dir int, path, buf []byte) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_READLINKAT, uintptr(dir), uintptr(unsafe.Pointer(&path[0])),
		uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0)
	return int(n), errno
}

// read fills buf from an open file until its end or the buffer's.
func read(fd int, buf []byte) (int, unix.Errno) {
	total := 0
	for total < len(buf) {
		n, err := unix.Read(fd, buf[total:])
		if err != nil {
			errno, ok := err.(unix.Errno) //nolint:errorlint // package unix returns it bare, and errors.As allocates
			if ok && errno == unix.EINTR {
				continue
			}
			return total, errno
		}
		if n == 0 {
			break
		}
		total += n
	}
	return total, 0
}

// nextDirent splits the first entry off what getdents64 returned (man 2
// getdents). It returns no name where the buffer ends.
func nextDirent(b []byte) (name, rest []byte) {
	const nameAt = 19
	if len(b) <= nameAt {
		return nil, nil
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	if size <= nameAt || size > len(b) {
		return nil, nil
	}
	name = b[nameAt:size]
	for i, c := range name {
		if c == 0 {
			return name[:i], b[size:]
		}
	}
	return nil, nil
}
