// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	direntBuffer = 64 << 10
	textBuffer   = 8 << 10
	linkBuffer   = 4 << 10
)

// procfs reads a mounted /proc. All buffers are reused.
type procfs struct {
	dir        int
	sizeCounts bool // st_size of /proc/PID/fd is the number of descriptors (Linux 6.2)
	pageSize   int64
	stats      *Stats
	pids       []int32
	dirents    []byte
	mount      string
	info       []byte
	text       []byte
	path       []byte
	rec        record
	desc       descriptor
}

// openProcfs opens the procfs mounted at dir.
func openProcfs(dir string, stats *Stats) (*procfs, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", dir, err)
	}
	p := &procfs{
		dir: fd, mount: dir, stats: stats, pageSize: int64(os.Getpagesize()),
		dirents: make([]byte, direntBuffer), text: make([]byte, textBuffer), path: make([]byte, 0, 64),
	}
	p.sizeCounts = p.calibrate()
	return p, nil
}

func (p *procfs) name() string { return "procfs" }

func (p *procfs) close() error {
	if p.dir < 0 {
		return nil
	}
	err := unix.Close(p.dir)
	p.dir = -1
	if err != nil {
		return fmt.Errorf("close proc: %w", err)
	}
	return nil
}

// calibrate reports whether st_size counts descriptors, by comparing both ways
// on our own. A count of 0 may be true for others, never for us.
func (p *procfs) calibrate() bool {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(p.dir, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
		return false
	}
	self := []byte("self/fd\x00")
	for range 3 { // another thread may open something in between
		var st unix.Statx_t
		if errno := statx(p.dir, self, &st); errno != 0 {
			return false
		}
		counted, err := p.countEntries(self)
		if err == nil && st.Size > 0 && counted-int64(st.Size) <= 1 && int64(st.Size)-counted <= 1 {
			return true
		}
	}
	return false
}

// at makes the path of a file of a process.
func (p *procfs) at(pid int32, file string) []byte {
	p.path = strconv.AppendInt(p.path[:0], int64(pid), 10)
	p.path = append(p.path, '/')
	p.path = append(p.path, file...)
	p.path = append(p.path, 0)
	return p.path
}

// file reads a small file of a process into the text buffer.
func (p *procfs) file(pid int32, file string) ([]byte, error) {
	fd, errno := openat(p.dir, p.at(pid, file))
	if errno != 0 {
		return nil, errno
	}
	n, errno := read(fd, p.text)
	_ = unix.Close(fd)
	if errno != 0 {
		return nil, errno
	}
	return p.text[:n], nil
}

func (p *procfs) each(measure func(*record) bool, take func(*record)) error {
	if err := p.list(); err != nil {
		return err
	}
	for _, pid := range p.pids {
		text, err := p.file(pid, "stat")
		if err == nil {
			p.rec = record{pid: pid, descriptors: -1}
			err = parseStat(text, &p.rec)
		}
		if err != nil {
			p.stats.count(err)
			continue
		}
		if p.rec.flags&flagKernelThread != 0 || p.rec.state == 'Z' || p.rec.state == 'X' {
			continue
		}
		if measure(&p.rec) && p.complete(pid) {
			take(&p.rec)
		}
	}
	return nil
}

// complete reads what stat does not say. It reports false when the process
// ended meanwhile.
func (p *procfs) complete(pid int32) bool {
	text, err := p.file(pid, "statm")
	if err == nil {
		err = parseStatm(text, &p.rec)
	}
	if err != nil {
		p.stats.count(err)
		return false
	}
	p.rec.descriptors, err = p.countDescriptors(pid)
	if err != nil {
		p.stats.count(err)
		p.stats.MissingDescriptor++
		p.rec.descriptors = -1
		return !gone(err)
	}
	return true
}

func (p *procfs) countDescriptors(pid int32) (int64, error) {
	path := p.at(pid, "fd")
	if p.sizeCounts {
		var st unix.Statx_t
		if errno := statx(p.dir, path, &st); errno != 0 {
			return -1, errno
		}
		return int64(min(st.Size, 1<<31)), nil
	}
	return p.countEntries(path)
}

func (p *procfs) countEntries(path []byte) (int64, error) {
	fd, errno := openat(p.dir, path)
	if errno != 0 {
		return -1, errno
	}
	defer func() { _ = unix.Close(fd) }()
	var n int64
	for {
		size, err := unix.Getdents(fd, p.dirents)
		if err != nil {
			return -1, fmt.Errorf("list descriptors: %w", err)
		}
		if size == 0 {
			return n, nil
		}
		for name, rest := nextDirent(p.dirents[:size]); name != nil; name, rest = nextDirent(rest) {
			if name[0] != '.' {
				n++
			}
		}
	}
}

// list reads the process ids.
func (p *procfs) list() error {
	p.pids = p.pids[:0]
	if _, err := unix.Seek(p.dir, 0, 0); err != nil {
		return fmt.Errorf("rewind the process table: %w", err)
	}
	for {
		size, err := unix.Getdents(p.dir, p.dirents)
		if err != nil {
			return fmt.Errorf("list processes: %w", err)
		}
		if size == 0 {
			return nil
		}
		for name, rest := nextDirent(p.dirents[:size]); name != nil; name, rest = nextDirent(rest) {
			if pid, ok := parseUint(name); ok && pid > 0 && pid <= 1<<22 {
				p.pids = append(p.pids, int32(pid))
			}
		}
	}
}

func (p *procfs) descriptors(pid int32, visit func(*descriptor)) error {
	dir, errno := openat(p.dir, p.at(pid, "fd"))
	if errno != 0 {
		return errno
	}
	defer func() { _ = unix.Close(dir) }()
	var number [16]byte
	link := p.text[:linkBuffer]
	for {
		size, err := unix.Getdents(dir, p.dirents)
		if err != nil {
			return err //nolint:wrapcheck // sorted by its number
		}
		if size == 0 {
			return nil
		}
		for name, rest := nextDirent(p.dirents[:size]); name != nil; name, rest = nextDirent(rest) {
			fd, ok := parseUint(name)
			if !ok || fd > 1<<30 {
				continue
			}
			path := append(append(number[:0], name...), 0)
			n, errno := readlinkat(dir, path, link)
			switch {
			case errno == unix.ENOENT:
				continue // closed meanwhile
			case errno != 0:
				return errno
			}
			p.desc.fd = int32(fd)
			p.desc.target = link[:n]
			p.desc.kind, p.desc.inode = kindOf(p.desc.target)
			visit(&p.desc)
		}
	}
}

// count sorts expected trouble by its reason.
func (s *Stats) count(err error) {
	s.Errors[reasonOf(err)]++
}

func reasonOf(err error) Reason {
	switch {
	case gone(err):
		return ReasonGone
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return ReasonPermission
	case errors.Is(err, ErrMalformed):
		return ReasonMalformed
	default:
		return ReasonOther
	}
}

func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH)
}
