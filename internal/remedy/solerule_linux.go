// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

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
	if len(h.partial) > 0 {
		return h.partial[0], false
	}
	if rule == SoleHolderSameUser {
		return h.soleOfUser(pid, socketUID, h.mayStore(pid))
	}
	if len(h.narrow) > 0 {
		return h.narrow[0], false
	}
	if len(h.unread) > 0 {
		return fmt.Sprintf("%d processes cannot be read, the first is %d: %s", len(h.unread), h.unread[0].pid, h.unread[0].why), false
	}
	return fmt.Sprintf("only holder among %d processes", len(h.pids)), true
}

// soleOfUser accepts unreadable processes of other users that are no children
// of the holder, those that cannot be seen at all, and an unreadable init that
// the holder cannot hand descriptors to for keeping (docs/decisions/0009). A
// look that did not come to its end is not accepted: what it missed may be ours.
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
