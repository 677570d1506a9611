// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "github.com/otel-memguard/memguard/internal/leak"

// judge says what the evidence allows, with the vetoes: the site must still
// close at least as many objects as it keeps, in several scans, at a pace
// that does not decay; and a pool, whose objects are used again, never.
func (s *survival) judge(p *survivalPlan) leak.State {
	if s.state == leak.StateConfirmed || s.state == leak.StateLikely {
		if s.over(p) {
			return leak.StateClear
		}
		if s.state == leak.StateConfirmed {
			return s.state
		}
	}
	w := s.wealth()
	grown := s.old - s.old0
	switch {
	case w < p.bars[0] || s.pool || s.old < p.minOld:
		return s.keep()
	case s.cohorts < minCohorts || float64(s.closed-s.closed0) < grown || grown <= 0 || !s.history.climbs():
		if s.state == leak.StateLikely {
			return s.state
		}
		return leak.StateSuspected
	case w >= p.bars[2] && s.idleEnough(p):
		return leak.StateConfirmed
	case w >= p.bars[1]:
		return leak.StateLikely
	}
	if s.state == leak.StateLikely {
		return s.state
	}
	return leak.StateSuspected
}

func (s *survival) keep() leak.State {
	if s.state == leak.StateLikely && !s.pool {
		return s.state
	}
	return leak.StateClear
}

// over reports that what stood is over: the old objects are gone, or there
// have been no more of them for max_fill_time.
func (s *survival) over(p *survivalPlan) bool {
	if s.old > s.peak {
		s.peak, s.peakAt = s.old, s.scan
	}
	if s.old <= s.peak/2 {
		s.low = min(s.low+1, 3)
	} else {
		s.low = 0
	}
	return s.low >= 3 || s.pool || s.scan-s.peakAt > p.plateau
}

func (s *survival) setState(state leak.State, now int64) bool {
	s.ended = false
	if state == s.state {
		return false
	}
	if !s.state.Open() || s.state == leak.StateSuspected {
		s.peak, s.peakAt, s.low = s.old, now, 0
	}
	if state == leak.StateClear {
		s.ended = s.low >= 3
		for i := range s.e {
			s.e[i] = 1
		}
		s.state = state
		s.begin(now)
		return true
	}
	s.state = state
	return true
}

// idleEnough asks for a second witness beside age. Without one, a file of a
// database looks like a leaked file: then only a run longer than any normal
// fill confirms.
func (s *survival) idleEnough(p *survivalPlan) bool {
	if s.idleAt == 0 || s.scan-s.idleAt > p.silence {
		return !p.idle || s.scan-s.onset >= p.plateau
	}
	return s.idle >= s.old/2
}

// sawIdle takes the number of idle objects at a scan. When more of them left
// idleness than were closed, they were used again: the site is a pool. Only
// deaths of objects that lived long enough to have been idle count.
func (s *survival) sawIdle() {
	long := s.sum(&s.dead, s.longBound())
	if s.idleSeen && s.idleLast-s.idle > float64(long-min(long, s.longDead)) {
		s.reused += s.idleLast - s.idle - float64(long-min(long, s.longDead))
	}
	s.idlePeak = max(s.idlePeak, s.idle)
	s.idleSeen, s.idleLast, s.longDead = true, s.idle, long
	s.pool = s.pool || s.reused >= max(3, s.idlePeak/10)
}

// idleSeconds is less than any threshold of idleness in use.
const idleSeconds = 30

func (s *survival) longBound() int {
	for i, b := range s.bounds[:s.buckets-1] {
		if b > idleSeconds {
			return max(0, i-1)
		}
	}
	return s.buckets - 2
}
