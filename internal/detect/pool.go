// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "time"

// idleSeconds is less than any threshold of idleness in use.
const idleSeconds = 30

// sawIdle takes the number of idle objects at a scan. When more of them left
// idleness than left the site, they were used again: the site is a pool. Those
// that got stuck, by a repair of ours too, are not idle any more and were not
// used either.
func (s *survival) sawIdle(stuck float64) {
	long := s.sum(&s.dead, s.longBound())
	left := max(float64(long-min(long, s.longDead)), s.departed()) + stuck
	if fall := s.idleLast - s.idle; s.idleSeen && fall > left {
		s.reused += fall - left
	}
	s.idlePeak = max(s.idlePeak, s.idle)
	s.idleSeen, s.idleLast, s.longDead = true, s.idle, long
	s.pool = s.pool || s.reused >= max(3, s.idlePeak/10)
}

// departed is how many objects, that could have been idle, left since the last
// scan at least: as many as the living of some age or more became fewer.
// Lifetimes do not count those whose birth nobody saw. In the first minutes of
// watching all ages are asked, since such objects look young then.
func (s *survival) departed() float64 {
	from := s.longBound() + 1
	if s.scan-s.start < int64(4*idleSeconds*time.Second) {
		from = 0
	}
	most, n := 0.0, uint64(0)
	for i := s.buckets - 1; i >= 0; i-- {
		n += s.age[i]
		if before := s.living[i]; i >= from && before > n {
			most = max(most, float64(before-n))
		}
		s.living[i] = n
	}
	return most
}

// longBound is the last bound that is not above idleSeconds.
func (s *survival) longBound() int {
	for i, b := range s.bounds[:s.buckets-1] {
		if b > idleSeconds {
			return max(0, i-1)
		}
	}
	return s.buckets - 2
}
