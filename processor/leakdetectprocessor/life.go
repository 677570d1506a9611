// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-memguard/memguard/internal/detect"
	"github.com/otel-memguard/memguard/internal/leak"
)

// maxAliases bounds the resources that are known to describe one life.
const maxAliases = 16

// life is one process life with its series.
type life struct {
	*detect.Life
	local   bool
	entries map[uint64]*entry
	aliases []uint64
	host    *host
	seen    time.Time // by the wall clock
	sink    *leakProcessor

	resource pcommon.Map // kept while findings are open
	kept     bool

	batch uint64 // newest batch that touched it
	at    int    // where in that batch its resource is
	dirty bool   // changed since its checkpoint
	saved int64  // event time of its checkpoint
}

// entry is what one series of points is for.
type entry struct {
	rule    *rule
	series  *detect.Series
	objects *detect.Objects
	last    int64
	refused bool // for want of room, or as it must not be judged
	silent  bool // and that is not worth counting
}

// host is where lives share a clock.
type host struct {
	id        string
	watermark int64 // newest event time of any of its points
	swept     int64 // watermark at its last sweep
	seen      time.Time
	lives     map[*life]struct{}
}

// advance lets the clock of the host go on to t, but never past what a right
// clock can show: one source whose clock is ahead must not age all the others.
func (h *host) advance(t, horizon int64) { h.watermark = max(h.watermark, min(t, horizon)) }

// rewind follows a clock that was put back.
func (h *host) rewind(t int64) { h.watermark, h.swept = min(h.watermark, t), min(h.swept, t) }

// tables finds lives by resource. Lives that our own receiver on this host
// reported are kept apart from all others, hosts and their clocks too: nothing
// that comes over the wire reaches them.
type tables struct {
	byHash [2]map[uint64]*life
	byKey  [2]map[string]*life
	hosts  [2]map[string]*host
}

func newTables() tables {
	var t tables
	for i := range t.byHash {
		t.byHash[i], t.byKey[i], t.hosts[i] = map[uint64]*life{}, map[string]*life{}, map[string]*host{}
	}
	return t
}

func side(local bool) int {
	if local {
		return 1
	}
	return 0
}

// trusted reports whether the context's mark covers this resource.
func trusted(p *leak.Provenance, resource pcommon.Map) bool {
	return p != nil && text(resource, leak.AttrHostID) == p.HostID && text(resource, leak.AttrBootID) == p.BootID
}

func (s *state) hostOf(process *leak.Process, key string, local bool) *host {
	hosts := s.tables.hosts[side(local)]
	id := process.HostID
	if id == "" {
		id = "life " + key // no clock is shared that we know of
	}
	h, ok := hosts[id]
	if !ok {
		h = &host{id: id, lives: map[*life]struct{}{}}
		hosts[id] = h
	}
	return h
}

// lives returns how many lives are watched.
func (t *tables) lives() int { return len(t.byKey[0]) + len(t.byKey[1]) }

// room reports that one more life may be watched: each has a series at least,
// and so has a host of its own at least one life.
func (s *state) room() bool { return max(s.entries, s.tables.lives()) < s.cfg.MaxSeries }

// life returns the life that a resource describes, made if need be. Nil means
// that there is no room for it.
func (s *state) life(resource pcommon.Map, hash uint64, local bool, provenance *leak.Provenance) *life {
	t := &s.tables
	if l, ok := t.byHash[side(local)][hash]; ok {
		return l
	}
	key, process := lifeKey(resource)
	l, ok := t.byKey[side(local)][key]
	if !ok && !s.room() {
		return nil
	}
	if !ok {
		var start int64
		if !process.CreationTime.IsZero() {
			start = process.CreationTime.UnixNano()
		}
		l = &life{Life: detect.NewLife(key, &process, provenance, start)}
		s.adopt(l, local)
	}
	l.SetProcess(&process)
	if len(l.aliases) >= maxAliases {
		delete(t.byHash[side(local)], l.aliases[0])
		l.aliases = l.aliases[1:]
	}
	l.aliases = append(l.aliases, hash)
	t.byHash[side(local)][hash] = l
	return l
}

func (s *state) adopt(l *life, local bool) {
	l.local = local
	l.entries = map[uint64]*entry{}
	l.host = s.hostOf(&l.Process, l.Key, local)
	l.host.lives[l] = struct{}{}
	s.tables.byKey[side(local)][l.Key] = l
}

// rewind follows the clock of the life's source, which was put back.
func (l *life) rewind() {
	now := l.Now()
	l.host.rewind(now)
	for _, e := range l.entries {
		e.last = min(e.last, now)
	}
	l.dirty = true
}

func (s *state) forget(l *life) {
	for _, hash := range l.aliases {
		delete(s.tables.byHash[side(l.local)], hash)
	}
	delete(s.tables.byKey[side(l.local)], l.Key)
	delete(l.host.lives, l)
	if len(l.host.lives) == 0 {
		delete(s.tables.hosts[side(l.local)], l.host.id)
	}
	s.engine.Forget(l.Life)
}
