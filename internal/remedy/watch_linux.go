// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"time"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// objectKey names one socket behind one descriptor of one process life. The
// cookie is never reused, so a new socket behind the same descriptor and even
// the same inode is another object.
type objectKey struct {
	instance string
	fd       int32
	inode    uint64
	cookie   uint64
}

// sight is what one look saw of a socket.
type sight struct {
	id                    sockdiag.ID
	state                 uint8
	uid                   uint32
	hasInfo               bool
	acked, received, sent uint64
	recvQueue, sendQueue  uint32
	lastData              time.Duration // the shorter of sent and received
	peer                  peerSight
}

// usedSince reports whether anybody has used the socket: bytes that came or
// went, or that the owner took out of its queue.
func (s *sight) usedSince(first *sight) bool {
	return s.received != first.received || s.sent != first.sent || s.acked != first.acked ||
		s.recvQueue != first.recvQueue || s.sendQueue != first.sendQueue || s.hasInfo != first.hasInfo
}

// watched is the extension's own memory of an object (guard 5).
type watched struct {
	key       objectKey
	site      string
	first     sight
	last      sight
	since     time.Time // of the watch; starts again with every byte and change of state
	seen      time.Time
	peerSeen  bool // its other end has been seen on this host
	pool      bool // used again after a long idle time
	proposed  bool
	refusedBy string
	tried     time.Time
	judged    bool // as it is now
	acted     bool
}

// idle is how long no byte and no change of state has been seen.
func (w *watched) idle(now time.Time) time.Duration { return now.Sub(w.since) }

// poolKey names the sockets of one site of a process that share a habit. A
// site where an ESTABLISHED connection was used again is a pool, but its
// half-closed sockets are so only if one of those was used again.
type poolKey struct {
	instance string
	site     string
	state    uint8
}

// watchTable is bounded: an object that does not fit is not watched, and so
// never acted on.
type watchTable struct {
	max     int
	objects map[objectKey]*watched
	pools   map[poolKey]time.Time
	refused func()
}

func newWatchTable(limit int, refused func()) *watchTable {
	return &watchTable{max: limit, objects: map[objectKey]*watched{}, pools: map[poolKey]time.Time{}, refused: refused}
}

// observe notes a sight. longIdle is the gap after which use means a pool.
func (t *watchTable) observe(key objectKey, site string, s *sight, now time.Time, longIdle time.Duration) *watched {
	w := t.objects[key]
	if w == nil {
		if len(t.objects) >= t.max {
			t.refused()
			return nil
		}
		w = &watched{key: key, site: site, first: *s, since: now}
		t.objects[key] = w
	} else {
		used := s.usedSince(&w.first)
		moved := s.state != w.first.state
		if used && !moved && w.idle(now) >= longIdle {
			w.pool = true
			t.learnPool(poolKey{key.instance, site, s.state}, now)
		}
		if used || moved {
			w.first, w.since = *s, now
			w.refusedBy, w.proposed, w.judged = "", false, false
		}
	}
	if s.peer != w.last.peer {
		w.judged = false
	}
	w.site, w.last, w.seen = site, *s, now
	if s.peer == peerAlive || s.peer == peerOrphan {
		w.peerSeen = true
	}
	return w
}

func (t *watchTable) learnPool(key poolKey, now time.Time) {
	if _, known := t.pools[key]; !known && len(t.pools) >= t.max {
		t.refused()
		return
	}
	t.pools[key] = now
}

// isPool reports whether sockets like w have been seen to be used again.
func (t *watchTable) isPool(w *watched) bool {
	if w.pool {
		return true
	}
	_, ok := t.pools[poolKey{w.key.instance, w.site, w.last.state}]
	return ok
}

// sweep forgets what was not seen in this look at a process, or at a process
// that nobody looks at any more.
func (t *watchTable) sweep(now time.Time, living map[string]bool) {
	for key, w := range t.objects {
		if !living[key.instance] || w.seen.Before(now) {
			delete(t.objects, key)
		}
	}
	for key := range t.pools {
		if !living[key.instance] {
			delete(t.pools, key)
		}
	}
}

// of returns the watched objects of one site of one process.
func (t *watchTable) of(instance, site string) []*watched {
	var found []*watched
	for _, w := range t.objects {
		if w.key.instance == instance && w.site == site {
			found = append(found, w)
		}
	}
	return found
}
