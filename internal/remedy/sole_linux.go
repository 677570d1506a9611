// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
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
	partial []string       // why the look did not come to an end
	narrow  []string       // why there may be processes that cannot be seen from here at all
	wanted  map[uint64]bool
	around  vicinity
	aroundE error
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
	h.around, h.aroundE = lookAround(p.root)
	if ns, err := os.Readlink(filepath.Join(p.root, "self/ns/pid")); err != nil || ns != initPIDNamespace {
		h.narrow = append(h.narrow, "processes outside of our pid namespace cannot be seen")
	}
	if _, err := os.Stat(p.path(1, "stat")); err != nil {
		h.narrow = append(h.narrow, "processes of other users are hidden (hidepid)")
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

// sharesFiles compares tables of descriptors (man 2 kcmp, KCMP_FILES). ESRCH
// does not say which of the two has ended: if it was the other one, tid still
// has a table, and the next may share it. What stays unsettled is not shared,
// so that the table is read.
func sharesFiles(tables []int32, tid int32) (bool, error) {
	for _, other := range tables {
		same, err := kcmp(int(other), int(tid), kcmpFiles, 0, 0)
		if err != nil && !gone(err) || same {
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
