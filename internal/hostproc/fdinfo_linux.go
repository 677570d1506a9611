// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"bytes"
	"errors"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// maxFdinfo bounds what is read of one fdinfo file: about 10,000 watches.
const maxFdinfo = 1 << 20

// watches counts the watches of an epoll or inotify descriptor.
func (p *procfs) watches(pid, fd int32, kind uint8) (int64, error) {
	path := p.at(pid, "fdinfo/")
	path = strconv.AppendInt(path[:len(path)-1], int64(fd), 10)
	p.path = append(path, 0)
	file, errno := openat(p.dir, p.path)
	if errno != 0 {
		return 0, errno
	}
	defer func() { _ = unix.Close(file) }()
	if p.info == nil {
		p.info = make([]byte, textBuffer)
	}
	var count int64
	held, total := 0, 0
	for total < maxFdinfo {
		n, err := unix.Read(file, p.info[held:])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return count, err //nolint:wrapcheck // sorted by its number
		}
		if n == 0 {
			break
		}
		total += n
		text := p.info[:held+n]
		end := bytes.LastIndexByte(text, '\n') + 1
		if end == 0 && len(text) == len(p.info) {
			end = len(text) // no line is so long: not what we know
		}
		count += countWatches(text[:end], kind)
		held = copy(p.info, text[end:])
	}
	return count, nil
}

func (p *procfs) linkPath(pid, fd int32) string {
	return filepath.Join(p.mount, strconv.Itoa(int(pid)), "fd", strconv.Itoa(int(fd)))
}
