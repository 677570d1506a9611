// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"slices"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

const (
	// settled is how many walks a site must be seen in before it sticks.
	settled = 3
	// candidatesPerSite bounds the sites that wait for a place.
	candidatesPerSite = 4
	// StateUnattached is the state of sockets that a descriptor holds and that
	// are in no table of the kernel: never bound, or dead and not closed.
	StateUnattached = 0
	// NumStates is one more than the largest state.
	NumStates = 16
)

// Site is one place where descriptors of one kind come from. The counts are as
// of the newest walk; lifetimes accumulate since Start.
type Site struct {
	Kind leak.Kind
	Name string
	// Start is when counting of lifetimes began.
	Start time.Time

	Count int64
	Idle  int64 // sockets without traffic past the threshold; 0 where Pool
	// Abandoned counts sockets in CLOSE_WAIT whose peer is provably gone.
	Abandoned int64
	// Sockets counts by transport and sockdiag state; state 0 is
	// StateUnattached.
	Sockets [NumTransports][NumStates]int64
	// Seen has a bit for each state that was ever above 0.
	Seen [NumTransports]uint32

	Age      Histogram // of the living, at the newest walk
	Lifetime Histogram // of those closed since Start whose birth was seen

	// Pool is set once an object of the site was used again after a long idle
	// gap: idleness is by design there.
	Pool bool

	kind       uint8
	raw        []string // before cleaning
	admitted   bool
	seenWalks  int
	lastSeen   time.Time
	admittedAt time.Time
}

// Transports of sockets, the first index of Site.Sockets.
const (
	TransportTCP uint8 = iota
	TransportUDP
	TransportUnix
	NumTransports

	transportUnknown
)

func (s *Site) begin() {
	s.Count, s.Idle, s.Abandoned = 0, 0, 0
	s.Sockets = [NumTransports][NumStates]int64{}
	s.Age = Histogram{}
}

// fold adds the newest walk of a site without a place to "other".
func (s *Site) fold(from *Site) {
	s.Count += from.Count
	s.Idle += from.Idle
	s.Abandoned += from.Abandoned
	for t, states := range from.Sockets {
		for i, n := range states {
			s.Sockets[t][i] += n
		}
	}
	s.Age.merge(&from.Age)
	s.Lifetime.merge(&from.Lifetime)
	from.Lifetime = Histogram{}
}

func (s *Site) note() {
	for t, states := range s.Sockets {
		for i, n := range states {
			if n > 0 {
				s.Seen[t] |= 1 << i
			}
		}
	}
}

// siteTable holds the sites of one process. At most limit sites of a kind have
// a place; they keep it for hold, so that series do not come and go.
type siteTable struct {
	limit    int
	hold     time.Duration
	byName   [numKinds]map[string]*Site
	other    [numKinds]*Site
	admitted [numKinds]int
	list     []*Site
	waiting  []*Site
	report   []*Site
}

func newSiteTable(limit int, hold time.Duration) *siteTable {
	return &siteTable{limit: limit, hold: hold}
}

func (t *siteTable) begin() {
	for _, s := range t.list {
		s.begin()
	}
	for _, s := range t.other {
		if s != nil {
			s.begin()
		}
	}
}

// get returns the site of that name, made if there is room for one more, else
// "other".
func (t *siteTable) get(kind uint8, name []byte, now time.Time) *Site {
	if s, ok := t.byName[kind][string(name)]; ok {
		return s
	}
	if t.byName[kind] == nil {
		t.byName[kind] = map[string]*Site{}
	}
	if len(t.byName[kind]) >= t.limit*(1+candidatesPerSite) {
		return t.otherOf(kind, now)
	}
	raw := string(name)
	clean := leak.CleanSite(raw)
	s := t.named(kind, clean)
	if s == nil {
		s = newSite(kind, clean, now)
		t.list = append(t.list, s)
	}
	s.raw = append(s.raw, raw)
	t.byName[kind][raw] = s
	return s
}

// named finds a site by its clean name: names that a process chose may differ
// in control characters only, and are one series.
func (t *siteTable) named(kind uint8, clean string) *Site {
	for _, s := range t.list {
		if s.kind == kind && s.Name == clean {
			return s
		}
	}
	return nil
}

func newSite(kind uint8, name string, now time.Time) *Site {
	return &Site{Kind: kindNames[kind], Name: name, kind: kind, Start: now, lastSeen: now}
}

func (t *siteTable) otherOf(kind uint8, now time.Time) *Site {
	if t.other[kind] == nil {
		t.other[kind] = newSite(kind, leak.SiteOther, now)
	}
	return t.other[kind]
}

// finish ends a walk: sites get and lose places, those without are folded. It
// returns the number of descriptors that were.
func (t *siteTable) finish(now time.Time) (folded int64) {
	t.waiting = t.waiting[:0]
	kept := t.list[:0]
	for _, s := range t.list {
		if s.Count > 0 {
			s.seenWalks++
			s.lastSeen = now
		} else if t.expired(s, now) {
			t.remove(s)
			continue
		}
		kept = append(kept, s)
		if !s.admitted && s.Count > 0 {
			t.waiting = append(t.waiting, s)
		}
	}
	clear(t.list[len(kept):])
	t.list = kept
	if len(t.waiting) > 0 {
		slices.SortStableFunc(t.waiting, func(a, b *Site) int { return int(b.Count - a.Count) })
		for _, s := range t.waiting {
			t.admit(s, now)
		}
	}
	t.report = t.report[:0]
	for _, s := range t.list {
		s.note()
		switch {
		case s.admitted:
			t.report = append(t.report, s)
		case s.Count > 0 || s.Lifetime.Count > 0:
			t.otherOf(s.kind, now).fold(s)
		}
	}
	for _, s := range t.other {
		if s != nil {
			s.note()
			folded += s.Count
			t.report = append(t.report, s)
		}
	}
	return folded
}

// expired says that an empty site need not be kept. Nothing refers to an empty
// site: every living object counts for its own.
func (t *siteTable) expired(s *Site, now time.Time) bool {
	if s.admitted && s.seenWalks >= settled {
		return now.Sub(s.lastSeen) >= t.hold
	}
	return true
}

func (t *siteTable) remove(s *Site) {
	if s.admitted {
		t.admitted[s.kind]--
	}
	for _, raw := range s.raw {
		delete(t.byName[s.kind], raw)
	}
}

func (t *siteTable) admit(s *Site, now time.Time) {
	if t.admitted[s.kind] >= t.limit {
		if s.seenWalks < settled || !t.demote(s, now) {
			return
		}
	}
	t.admitted[s.kind]++
	s.admitted = true
	s.admittedAt = now
	s.Start = now
	s.Lifetime = Histogram{}
}

// demote takes the place of the smallest site that had one for long enough,
// and holds less than s.
func (t *siteTable) demote(s *Site, now time.Time) bool {
	var least *Site
	for _, other := range t.list {
		if other.kind == s.kind && other.admitted && now.Sub(other.admittedAt) >= t.hold &&
			other.Count < s.Count && (least == nil || other.Count < least.Count) {
			least = other
		}
	}
	if least == nil {
		return false
	}
	least.admitted = false
	t.admitted[s.kind]--
	return true
}
