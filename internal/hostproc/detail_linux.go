// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"cmp"
	"slices"
	"time"
)

const (
	deniedRetry = time.Minute
	// lifetimesNeeded is how many closed lifetimes make a p99 known.
	lifetimesNeeded = 20
	abandonedFactor = 10
	// watchFiles bounds how many fdinfo files are read per process and walk.
	watchFiles = 64
)

// detail reads the descriptors of as many processes as the budget allows:
// those that climb first, then those asked for, then the rest by turns. Each
// class goes on where it stopped at the scan before.
func (s *Scanner) detail() {
	for _, l := range s.queue {
		if l.Descriptors >= 0 && l.descriptors.observe(l.Descriptors) {
			l.heldUntil = s.now.Add(s.opts.Hold)
		}
	}
	slices.SortFunc(s.queue, func(a, b *life) int {
		return cmp.Or(cmp.Compare(a.class(s.now), b.class(s.now)), cmp.Compare(a.walkScan, b.walkScan), cmp.Compare(a.id, b.id))
	})
	budget, used := int64(s.opts.Budget), int64(0)
	left := max(0, budget-s.debt)
	for _, l := range s.queue {
		if l.Descriptors == 0 || (!l.denied.IsZero() && s.now.Sub(l.denied) < deniedRetry) {
			if !l.denied.IsZero() {
				s.stats.Denied++
			}
			continue
		}
		// One process larger than the whole budget gets its turn too, out of
		// the budget of the scans that follow.
		fits := l.Descriptors <= left || used == 0 && s.debt == 0
		if left <= 0 || !fits {
			if l.class(s.now) != classRest {
				s.stats.Deferred++
			}
			continue
		}
		n := int64(s.walk(l))
		used += n
		left -= n
	}
	s.debt = max(0, s.debt+used-budget)
}

// Classes of processes in the order in which they get detail.
const (
	classSuspect = iota
	classAsked
	classRest
)

func (l *life) class(now time.Time) int {
	switch {
	case now.Before(l.heldUntil):
		return classSuspect
	case l.asked:
		return classAsked
	default:
		return classRest
	}
}
