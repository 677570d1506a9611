// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Links of /proc/PID/fd that matter here.
const (
	socketPrefix = "socket:["
	ioUringLink  = "anon_inode:[io_uring]"
)

// procfs reads the processes of our own pid space.
type procfs struct{ root string }

func (p procfs) path(pid int32, rest string) string {
	return filepath.Join(p.root, strconv.Itoa(int(pid)), rest)
}

// numbers lists the entries of a directory that are numbers: pids, threads or
// descriptors.
func numbers(dir string, fn func(n int32)) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	for {
		names, err := d.Readdirnames(512)
		for _, name := range names {
			if n, err := strconv.ParseInt(name, 10, 32); err == nil {
				fn(int32(n))
			}
		}
		if err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if len(names) == 0 {
			return nil
		}
	}
}

func gone(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH)
}

// descriptors calls fn for each descriptor in a table of descriptors, with
// where it leads. The link is valid only during the call.
func descriptors(dir string, fn func(fd int32, link []byte)) error {
	var buf [256]byte
	prefix := dir + "/"
	var first error
	err := numbers(dir, func(fd int32) {
		n, err := unix.Readlink(prefix+strconv.Itoa(int(fd)), buf[:])
		if err != nil {
			if !gone(err) && first == nil {
				first = err
			}
			return
		}
		fn(fd, buf[:n])
	})
	if err == nil {
		err = first
	}
	return err
}

// socketInode returns the inode of a link like "socket:[4711]".
func socketInode(link []byte) (uint64, bool) {
	number, ok := bytes.CutPrefix(link, []byte(socketPrefix))
	if !ok || len(number) < 2 || number[len(number)-1] != ']' {
		return 0, false
	}
	inode, err := strconv.ParseUint(string(number[:len(number)-1]), 10, 64)
	return inode, err == nil
}

// stat is what is needed of /proc/PID/stat (man 5 proc_pid_stat).
type stat struct {
	comm       string
	state      byte
	ppid       int32
	flags      uint64
	startTicks uint64
}

// kernelThread is PF_KTHREAD of include/linux/sched.h.
const kernelThread = 0x00200000

var errMalformed = errors.New("malformed process status")

func parseStat(text []byte) (stat, error) {
	open, end := bytes.IndexByte(text, '('), bytes.LastIndexByte(text, ')')
	if open < 0 || end < open {
		return stat{}, errMalformed
	}
	fields := bytes.Fields(text[end+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return stat{}, errMalformed
	}
	s := stat{comm: string(text[open+1 : end]), state: fields[0][0]}
	ppid, err := strconv.ParseInt(string(fields[1]), 10, 32)
	if err != nil {
		return stat{}, errMalformed
	}
	s.ppid = int32(ppid)
	if s.flags, err = strconv.ParseUint(string(fields[6]), 10, 64); err != nil {
		return stat{}, errMalformed
	}
	if s.startTicks, err = strconv.ParseUint(string(fields[19]), 10, 64); err != nil {
		return stat{}, errMalformed
	}
	return s, nil
}

func (p procfs) stat(pid int32) (stat, error) {
	text, err := os.ReadFile(p.path(pid, "stat"))
	if err != nil {
		return stat{}, err
	}
	return parseStat(text)
}

// uid returns the real user id of a process. The owner of /proc/PID is not
// it: that of a process which may not be dumped is root.
func (p procfs) uid(pid int32) (uint32, error) {
	text, err := os.ReadFile(p.path(pid, "status"))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(text, []byte("\nUid:"))
	fields := bytes.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, errMalformed
	}
	uid, err := strconv.ParseUint(string(fields[0]), 10, 32)
	if err != nil {
		return 0, errMalformed
	}
	return uint32(uid), nil
}

// subject reads what guard 2 judges. What cannot be read is an error: a
// process that cannot be told is not touched.
func (p procfs) subject(pid int32) (*subject, stat, error) {
	st, err := p.stat(pid)
	if err != nil {
		return nil, st, fmt.Errorf("read process: %w", err)
	}
	s := &subject{pid: pid, names: []string{st.comm}}
	if st.flags&kernelThread != 0 {
		return s, st, nil
	}
	exe, err := os.Readlink(p.path(pid, "exe"))
	if err != nil {
		return nil, st, fmt.Errorf("read program: %w", err)
	}
	exe = strings.TrimSuffix(exe, " (deleted)")
	s.names = append(s.names, path.Base(exe), exe)
	if s.cgroup, err = p.cgroup(pid); err != nil {
		return nil, st, fmt.Errorf("read cgroup: %w", err)
	}
	if s.owner, err = p.owner(pid); err != nil {
		return nil, st, fmt.Errorf("read owner: %w", err)
	}
	return s, st, nil
}

// belongsTo returns owner and cgroup, "" for what cannot be read: no name of
// a policy means it.
func (p procfs) belongsTo(pid int32) (owner, cgroup string) {
	owner, err := p.owner(pid)
	if err != nil {
		owner = ""
	}
	if cgroup, err = p.cgroup(pid); err != nil {
		cgroup = ""
	}
	return owner, cgroup
}

func (p procfs) cgroup(pid int32) (string, error) {
	text, err := os.ReadFile(p.path(pid, "cgroup"))
	return cgroupPath(string(text)), err
}

// owner returns the name of the real user, or the number of one without.
func (p procfs) owner(pid int32) (string, error) {
	uid, err := p.uid(pid)
	if err != nil {
		return "", err
	}
	number := strconv.FormatUint(uint64(uid), 10)
	if u, err := user.LookupId(number); err == nil {
		return u.Username, nil
	}
	return number, nil
}

// cgroupPath returns the path of cgroup v2, or of the systemd hierarchy, or
// else the longest one (man 7 cgroups).
func cgroupPath(text string) string {
	best := ""
	for line := range strings.Lines(text) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		if parts[0] == "0" && parts[2] != "/" || parts[1] == "name=systemd" {
			return parts[2]
		}
		if len(parts[2]) > len(best) {
			best = parts[2]
		}
	}
	return best
}

// ancestors returns our own pid and those of our ancestors.
func (p procfs) ancestors() map[int32]bool {
	found := map[int32]bool{1: true}
	pid := int32(os.Getpid())
	for pid > 0 && !found[pid] {
		found[pid] = true
		st, err := p.stat(pid)
		if err != nil {
			break
		}
		pid = st.ppid
	}
	return found
}
