// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "github.com/otel-memguard/memguard/internal/leak"

// What a climb must keep of its pace: a saturating fill of the length of its
// time constant keeps 0.6, a leak all of it.
const (
	climbing = 0.6
	straight = 0.8
)

// judge says what the evidence allows, with the vetoes: the site must still
// close at least as many objects as it keeps, in several scans, at a pace
// that does not decay; and a pool, whose objects are used again, never. Old
// and idle are the objects of a pool that fills as well: so ages alone make
// it likely at most, until the run is longer than any normal fill. Only a
// mechanism confirms earlier.
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
	case s.cohorts < minCohorts || float64(s.closed-min(s.closed, s.closed0)) < grown || grown <= 0 || !s.history.climbs(climbing):
		return s.doubted()
	}
	s.mechanism = s.stuckToo()
	switch {
	case !s.mechanism && !s.idleEnough(p):
		return s.doubted()
	case w >= p.bars[2] && (s.mechanism || s.scan-s.onset >= p.plateau && s.history.climbs(straight)):
		return leak.StateConfirmed
	case w >= p.bars[1]:
		return leak.StateLikely
	}
	return s.doubted()
}

// doubted is the state where something speaks against more.
func (s *survival) doubted() leak.State {
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

// idleEnough asks for a witness beside age, where there is one: at least half
// of the old objects are idle. Of files nobody reports it.
func (s *survival) idleEnough(p *survivalPlan) bool {
	if !p.idle || s.idleAt == 0 || s.scan-s.idleAt > p.silence {
		return true
	}
	return s.idle >= s.old/2
}

// stuckToo reports the mechanism: at least half of the old objects, and of
// those that were added, can never be used again, and they climb as well.
func (s *survival) stuckToo() bool {
	return s.stuck >= s.old/2 && s.stuck-s.stuck0 >= (s.old-s.old0)/2 && s.stuckHistory.climbs(climbing)
}

// sawStuck takes the number of objects that can never be used again. It
// returns how many more they are.
func (s *survival) sawStuck(n float64) float64 {
	more := max(0, n-s.stuck)
	s.stuck = n
	return more
}
