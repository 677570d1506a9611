// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import "slices"

// Kind is the value of the attribute memguard.object.kind: what leaks.
type Kind string

// The closed list of kinds.
const (
	KindFile       Kind = "file"
	KindSocket     Kind = "socket"
	KindPipe       Kind = "pipe"
	KindEventfd    Kind = "eventfd"
	KindTimerfd    Kind = "timerfd"
	KindEpoll      Kind = "epoll"
	KindInotify    Kind = "inotify"
	KindDescriptor Kind = "descriptor" // any other descriptor, or descriptors not told apart
	KindMemory     Kind = "memory"
	KindThread     Kind = "thread"
	KindGoroutine  Kind = "goroutine"
	KindTimer      Kind = "timer"
	KindCache      Kind = "cache"
	KindListener   Kind = "listener"
	KindCycle      Kind = "cycle"
)

// Kinds lists every kind in the order of the vocabulary.
func Kinds() []Kind {
	return []Kind{
		KindFile, KindSocket, KindPipe, KindEventfd, KindTimerfd, KindEpoll, KindInotify, KindDescriptor,
		KindMemory, KindThread, KindGoroutine, KindTimer, KindCache, KindListener, KindCycle,
	}
}

// Valid reports whether k is in the vocabulary.
func (k Kind) Valid() bool {
	return slices.Contains(Kinds(), k)
}

// Descriptor reports whether objects of this kind are file descriptors and so
// count against RLIMIT_NOFILE.
func (k Kind) Descriptor() bool {
	switch k {
	case KindFile, KindSocket, KindPipe, KindEventfd, KindTimerfd, KindEpoll, KindInotify, KindDescriptor:
		return true
	default:
		return false
	}
}

// Bytes reports whether growth of this kind is measured in bytes rather than
// in objects.
func (k Kind) Bytes() bool { return k == KindMemory }

// SiteOther is the site into which sites beyond the bound are folded. It is
// never judged.
const SiteOther = "other"
