// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

// Lifetimes takes the cumulative histogram of lifetimes of closed objects at
// a site, start being when its counting began.
func (o *Objects) Lifetimes(e *Engine, start, t int64, bounds []float64, counts []uint64) Refusal {
	return o.take(e, t, bounds, counts, func(s *survival) (*[maxBuckets + 1]uint64, *int64) {
		if start > s.start && s.start != 0 {
			s.primed = false // counting began anew: deaths since are not comparable
			s.idleSeen = false
		}
		s.start = start
		return &s.dead, &s.deadAt
	})
}

// Ages takes the snapshot of ages of the living objects at a site.
func (o *Objects) Ages(e *Engine, t int64, bounds []float64, counts []uint64) Refusal {
	return o.take(e, t, bounds, counts, func(s *survival) (*[maxBuckets + 1]uint64, *int64) { return &s.age, &s.ageAt })
}

// Objects is the population of one kind at one site.
type Objects struct{ group *group }

func (o *Objects) take(e *Engine, t int64, bounds []float64, counts []uint64, pick func(*survival) (*[maxBuckets + 1]uint64, *int64)) Refusal {
	g := o.group
	if g.survival == nil {
		g.survival = &survival{}
	}
	s := g.survival
	if len(counts) != len(bounds)+1 || !s.setBounds(bounds) {
		return Shape
	}
	dst, at := pick(s)
	switch {
	case t == *at:
		return Duplicate
	case t < *at:
		if !s.late.steppedBack(e.horizon, *at, t) {
			return Late
		}
		s.stepBack(*at, t)
		g.life.rewind(e, t)
	}
	s.late.n = 0
	*at = t
	copy(dst[:], counts)
	g.life.now = max(g.life.now, t)
	g.touch()
	return Accepted
}
