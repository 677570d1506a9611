// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import "time"

// objectKey names one descriptor of one life. Sockets and pipes have an inode
// of their own; files are told apart by number and path, other descriptors by
// number and kind: one that was closed and opened again alike between two walks
// is taken for the same.
type objectKey struct {
	life uint64
	id   uint64
	fd   int32
}

type object struct {
	key   objectKey
	site  *Site
	birth time.Time // middle of the interval in which it appeared
	born  bool      // the birth was seen: it was not there at the walk before
	walk  uint64    // in which it was last seen

	// Of sockets.
	provisional bool // the site is to be found out yet
	transport   uint8
	bytes       uint64
	idle        time.Duration
	goneSince   time.Time // since when its peer is known to be gone
	peerSeen    bool      // its peer was once in the tables
	abandoned   bool      // and that for long enough
}

// objectTable is a slab, so that walks cause no garbage.
type objectTable struct {
	limit int
	index map[objectKey]int32
	slab  []object
	free  []int32
}

func newObjectTable(limit int) *objectTable {
	return &objectTable{limit: limit, index: map[objectKey]int32{}}
}

func (t *objectTable) len() int { return len(t.index) }

func (t *objectTable) find(key objectKey) (int32, bool) {
	at, ok := t.index[key]
	return at, ok
}

// add makes room for one more. It returns false where the bound is reached.
func (t *objectTable) add(key objectKey) (int32, bool) {
	if len(t.index) >= t.limit {
		return 0, false
	}
	var at int32
	if n := len(t.free); n > 0 {
		at = t.free[n-1]
		t.free = t.free[:n-1]
	} else {
		at = int32(len(t.slab))
		t.slab = append(t.slab, object{})
	}
	t.slab[at] = object{key: key}
	t.index[key] = at
	return at, true
}

func (t *objectTable) remove(at int32) {
	delete(t.index, t.slab[at].key)
	t.slab[at] = object{}
	t.free = append(t.free, at)
}
