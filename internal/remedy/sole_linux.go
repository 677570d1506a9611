// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// maxSightAge is how old a look over the host may be when it is acted on.
const maxSightAge = 2 * time.Second

// initPIDNamespace is PROC_PID_INIT_INO of include/linux/proc_ns.h.
const initPIDNamespace = "pid:[4026531836]"

// holder is one descriptor of one table that leads to a socket.
type holder struct {
	pid, thread, fd int32
}

// unread is a process whose descriptors could not be read.
type unread struct {
	pid   int32
	uid   uint32
	known bool // uid is known
	why   string
}

// hostSight is one look at the descriptors of every process of the host.
type hostSight struct {
	at      time.Time
	lastPID string
	pids    map[int32]bool
	holders map[uint64][]holder
	unread  []unread
	parents map[int32]int32
	rings   map[int32]bool // processes that hold an io_uring
	partial []string       // why this cannot be all
	wanted  map[uint64]bool
	// mayStore reports whether a process can hand descriptors to init.
	mayStore func(pid int32) bool
}

// lookForHolders reads the descriptors of all processes once, for many
// sockets. Processes that appear meanwhile are read too.
func (p procfs) lookForHolders(wanted map[uint64]bool, now time.Time) *hostSight {
	h := &hostSight{
		at: now, wanted: wanted, pids: map[int32]bool{}, holders: map[uint64][]holder{},
		parents: map[int32]int32{}, rings: map[int32]bool{}, mayStore: p.mayStore,
	}
	if ns, err := os.Readlink(filepath.Join(p.root, "self/ns/pid")); err != nil || ns != initPIDNamespace {
		h.partial = append(h.partial, "processes outside of our pid namespace cannot be seen")
	}
	if _, err := os.Stat(p.path(1, "stat")); err != nil {
		h.partial = append(h.partial, "processes of other users are hidden (hidepid)")
	}
	p.complete(h)
	return h
}

// complete reads processes that are newer than the look, until a round finds
// none. It reports whether it got to an end.
func (p procfs) complete(h *hostSight) {
	const rounds = 8
	for range rounds {
		last, err := p.lastPID()
		if err != nil {
			h.partial = append(h.partial, "cannot tell whether processes were started meanwhile")
			return
		}
		if last == h.lastPID {
			return
		}
		var fresh []int32
		if err := numbers(p.root, func(pid int32) {
			if !h.pids[pid] {
				fresh = append(fresh, pid)
			}
		}); err != nil {
			h.partial = append(h.partial, "the list of processes cannot be read: "+err.Error())
			return
		}
		for _, pid := range fresh {
			h.pids[pid] = true
			p.readHolder(h, pid)
		}
		h.lastPID = last
	}
	h.partial = append(h.partial, "processes start faster than they can be read")
}

// lastPID returns the pid given out last, processes and threads alike (last
// field of /proc/loadavg): while it stands, nothing was forked.
func (p procfs) lastPID() (string, error) {
	text, err := os.ReadFile(filepath.Join(p.root, "loadavg"))
	if err != nil {
		return "", err
	}
	fields := strings.Fields(string(text))
	if len(fields) < 5 {
		return "", errMalformed
	}
	return fields[4], nil
}

func (p procfs) readHolder(h *hostSight, pid int32) {
	st, err := p.stat(pid)
	if err != nil {
		if !gone(err) {
			h.cannotRead(p, pid, err)
		}
		return
	}
	h.parents[pid] = st.ppid
	if st.flags&kernelThread != 0 {
		return
	}
	if st.state != 'Z' && st.state != 'X' {
		if err := h.table(pid, 0, p.path(pid, "fd")); err != nil {
			if !gone(err) {
				h.cannotRead(p, pid, err)
			}
			return
		}
	}
	p.readThreads(h, pid, st.state == 'Z')
}

// readThreads reads the tables of threads that do not share their process's
// (unshare(CLONE_FILES)), and of all threads where the first one has ended.
func (p procfs) readThreads(h *hostSight, pid int32, leaderEnded bool) {
	var threads []int32
	err := numbers(p.path(pid, "task"), func(tid int32) {
		if tid != pid {
			threads = append(threads, tid)
		}
	})
	if err != nil {
		if !gone(err) {
			h.cannotRead(p, pid, err)
		}
		return
	}
	var tables []int32
	if !leaderEnded {
		tables = append(tables, pid)
	}
	for _, tid := range threads {
		shared, err := sharesFiles(tables, tid)
		if err == nil && shared {
			continue
		}
		if err == nil {
			tables = append(tables, tid)
			err = h.table(pid, tid, p.path(pid, "task/"+strconv.Itoa(int(tid))+"/fd"))
		}
		if err != nil && !gone(err) {
			h.cannotRead(p, pid, err)
			return
		}
	}
}

// sharesFiles compares tables of descriptors (man 2 kcmp, KCMP_FILES).
func sharesFiles(tables []int32, tid int32) (bool, error) {
	for _, other := range tables {
		same, err := kcmp(int(other), int(tid), kcmpFiles, 0, 0)
		if err != nil || same {
			return same, err
		}
	}
	return false, nil
}

// mayStore reports whether a process was started with a way to the descriptor
// store of systemd (man 3 sd_pid_notify_with_fds). Unsure means yes.
func (p procfs) mayStore(pid int32) bool {
	environ, err := os.ReadFile(p.path(pid, "environ"))
	return err != nil || bytes.HasPrefix(environ, notifySocket) || bytes.Contains(environ, append([]byte{0}, notifySocket...))
}

var notifySocket = []byte("NOTIFY_SOCKET=")

func (h *hostSight) table(pid, thread int32, dir string) error {
	return descriptors(dir, func(fd int32, link []byte) {
		if string(link) == ioUringLink {
			h.rings[pid] = true
		}
		if inode, ok := socketInode(link); ok && h.wanted[inode] {
			h.holders[inode] = append(h.holders[inode], holder{pid, thread, fd})
		}
	})
}

func (h *hostSight) cannotRead(p procfs, pid int32, err error) {
	u := unread{pid: pid, why: err.Error()}
	if uid, err := p.uid(pid); err == nil {
		u.uid, u.known = uid, true
	}
	h.unread = append(h.unread, u)
}

// descends reports whether pid is a child, grandchild and so on of ancestor,
// as far as parents are known.
func (h *hostSight) descends(pid, ancestor int32) bool {
	for range 64 {
		parent, ok := h.parents[pid]
		if !ok || parent <= 1 {
			return false
		}
		if parent == ancestor {
			return true
		}
		pid = parent
	}
	return true // too deep to tell
}

// soleHolder is guard 7: exactly this descriptor of this process leads to the
// socket, as far as the policy demands sight.
func (h *hostSight) soleHolder(pid, fd int32, inode uint64, socketUID uint32, rule SoleHolder, now time.Time) (string, bool) {
	if age := now.Sub(h.at); age > maxSightAge || age < 0 {
		return fmt.Sprintf("the look over the host's processes is %s old", age.Round(time.Millisecond)), false
	}
	holders := h.holders[inode]
	for _, other := range holders {
		if other.pid != pid || other.thread != 0 || other.fd != fd {
			return fmt.Sprintf("also held by process %d, descriptor %d", other.pid, other.fd), false
		}
	}
	if len(holders) != 1 {
		return "the descriptor does not lead to the socket any more", false
	}
	if h.rings[pid] {
		return "the process uses io_uring, which can hold sockets unseen", false
	}
	if rule == SoleHolderSameUser {
		return h.soleOfUser(pid, socketUID, h.mayStore(pid))
	}
	if len(h.partial) > 0 {
		return h.partial[0], false
	}
	if len(h.unread) > 0 {
		return fmt.Sprintf("%d processes cannot be read, the first is %d: %s", len(h.unread), h.unread[0].pid, h.unread[0].why), false
	}
	return fmt.Sprintf("only holder among %d processes", len(h.pids)), true
}

// soleOfUser accepts unreadable processes of other users that are no children
// of the holder, and an unreadable init that the holder cannot hand
// descriptors to for keeping (docs/decisions/0009).
func (h *hostSight) soleOfUser(pid int32, socketUID uint32, mayStore bool) (string, bool) {
	own := uint32(os.Getuid())
	if socketUID != own {
		return fmt.Sprintf("the socket belongs to user %d, not to ours, %d", socketUID, own), false
	}
	for _, u := range h.unread {
		switch {
		case u.pid == 1 && !mayStore:
		case u.pid == 1:
			return "init cannot be read, and the process can store descriptors there (NOTIFY_SOCKET)", false
		case !u.known:
			return fmt.Sprintf("process %d cannot be read, and not whose it is: %s", u.pid, u.why), false
		case u.uid == own:
			return fmt.Sprintf("process %d of the same user cannot be read: %s", u.pid, u.why), false
		case h.descends(u.pid, pid):
			return fmt.Sprintf("process %d, a child of another user, cannot be read: %s", u.pid, u.why), false
		}
	}
	return fmt.Sprintf("only holder among the processes of user %d; %d others cannot be read", own, len(h.unread)), true
}

// nbdHolds reports whether the process serves a network block device, whose
// sockets the kernel uses itself.
func nbdHolds(pid int32) bool {
	files, err := filepath.Glob("/sys/block/nbd*/pid")
	if err != nil {
		return true
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(text)) == strconv.Itoa(int(pid)) {
			return true
		}
	}
	return false
}

// Types of kcmp (include/uapi/linux/kcmp.h).
const (
	kcmpFile  = 0
	kcmpFiles = 2
)

// kcmp reports whether two processes share a resource (man 2 kcmp).
func kcmp(pid1, pid2, typ int, idx1, idx2 uintptr) (bool, error) {
	order, _, errno := unix.Syscall6(unix.SYS_KCMP, uintptr(pid1), uintptr(pid2), uintptr(typ), idx1, idx2, 0)
	if errno != 0 {
		return false, errno
	}
	return order == 0, nil
}
