// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "time"

// lateRun is how many late samples in a row, each no older than the one
// before, mean that the source's clock was put back.
const lateRun = 10

// SetHorizon says what the newest time is that a right clock can show, in ns.
// A series whose newest sample lies beyond it was ahead; the next sample
// before it says that its clock was put right. Without a horizon only a run of
// late samples says so.
func (e *Engine) SetHorizon(t int64) { e.horizon = t }

// lateness tells a late sample from a clock that was put back.
type lateness struct {
	at uint16 // s, of the newest late sample, from an origin that does not matter
	n  uint8
}

func (l *lateness) steppedBack(horizon, last, t int64) bool {
	if last > horizon && t <= horizon {
		l.n = 0
		return true
	}
	second := uint16(t / int64(time.Second))
	if int16(second-l.at) < 0 {
		l.n = 0
	}
	l.at = second
	l.n++
	if l.n < lateRun {
		return false
	}
	l.n = 0
	return true
}

// shift moves known times back by d.
func shift(d int64, times ...*int64) {
	for _, t := range times {
		if *t != 0 {
			*t -= d
		}
	}
}

// stepBack moves all that the series knows to the clock that was put back: t is
// its next sample. Nothing that was learned is lost, and nothing waits until
// the new clock has caught up with the old one.
func (s *Series) stepBack(e *Engine, t int64) {
	d := s.last - t + max(1, int64(s.interval))
	shift(d, &s.origin, &s.blockEnd, &s.last)
	if r := s.risk; r != nil {
		shift(d, &r.open, &r.since)
		for i := range r.at {
			shift(d, &r.at[i])
		}
	}
	if p := s.group.proof; p != nil && s.spec.Use == UseProof && p.at > t {
		shift(d, &p.at, &p.since, &p.above)
	}
	s.group.life.rewind(e, t)
}

func (s *survival) stepBack(at, t int64) {
	d := at - t + max(1, int64(s.interval))
	shift(d, &s.deadAt, &s.ageAt, &s.scan, &s.round, &s.onset, &s.peakAt)
	s.idleAt = min(s.idleAt, t)
}

// rewind takes back the newest time of the life if no part of it shows it any
// more, and with it the times of its findings: their changes stay in order and
// none is an event again.
func (l *Life) rewind(e *Engine, t int64) {
	newest, bar := t, max(t, e.horizon)
	take := func(at int64) {
		if at <= bar {
			newest = max(newest, at)
		}
	}
	for _, g := range l.groups {
		for _, s := range g.series {
			take(s.last)
		}
		if g.survival != nil {
			take(max(g.survival.deadAt, g.survival.ageAt))
		}
	}
	if newest >= l.now {
		return
	}
	d := l.now - newest
	l.now, l.rewound = newest, true
	for _, f := range l.findings {
		f.emitted = min(f.emitted-d, newest-1) // it is to be seen again now
		for _, at := range []*time.Time{&f.Since, &f.Time, &f.Onset} {
			if !at.IsZero() {
				*at = at.Add(-time.Duration(d))
			}
		}
	}
}

// Rewound reports, once, that the newest time of the life went back.
func (l *Life) Rewound() bool {
	was := l.rewound
	l.rewound = false
	return was
}
