// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"fmt"
	"math"
	"time"
)

// Limits are the rates of guard 9.
type Limits struct {
	ProcessPerMinute    float64       // acts on one process
	ExecutablePerMinute float64       // acts on all processes of one program
	TotalPerMinute      float64       // acts at all
	Cooldown            time.Duration // between two passes over one process
}

// DefaultLimits are what a careful operator would begin with.
func DefaultLimits() Limits {
	return Limits{ProcessPerMinute: 60, ExecutablePerMinute: 120, TotalPerMinute: 300, Cooldown: 10 * time.Second}
}

// maxBuckets bounds the buckets kept; beyond it new ones are refused.
const maxBuckets = 8192

type bucket struct {
	tokens float64
	at     time.Time
}

// limiter is a set of token buckets. A bucket holds as many tokens as flow in
// in a minute.
type limiter struct {
	limits  Limits
	total   bucket
	buckets map[string]*bucket
}

func newLimiter(limits Limits) *limiter {
	return &limiter{limits: limits, buckets: map[string]*bucket{}}
}

// take takes a token from each of the three buckets, or from none. The reason
// says which was empty.
func (l *limiter) take(now time.Time, instance, executable string) (string, bool) {
	process, ok := l.get("p:"+instance, l.limits.ProcessPerMinute, now)
	if !ok {
		return "too many processes to keep count of", false
	}
	program, ok := l.get("x:"+executable, l.limits.ExecutablePerMinute, now)
	if !ok {
		return "too many programs to keep count of", false
	}
	l.total.refill(l.limits.TotalPerMinute, now)
	switch {
	case process.tokens < 1:
		return fmt.Sprintf("at most %v acts a minute on one process", l.limits.ProcessPerMinute), false
	case program.tokens < 1:
		return fmt.Sprintf("at most %v acts a minute on one program", l.limits.ExecutablePerMinute), false
	case l.total.tokens < 1:
		return fmt.Sprintf("at most %v acts a minute on the host", l.limits.TotalPerMinute), false
	}
	process.tokens--
	program.tokens--
	l.total.tokens--
	return "within the limits", true
}

// giveBack returns the tokens of an act that was not done.
func (l *limiter) giveBack(instance, executable string) {
	for _, key := range []string{"p:" + instance, "x:" + executable} {
		if b := l.buckets[key]; b != nil {
			b.tokens++
		}
	}
	l.total.tokens++
}

func (l *limiter) get(key string, perMinute float64, now time.Time) (*bucket, bool) {
	b := l.buckets[key]
	if b == nil {
		if len(l.buckets) >= maxBuckets {
			l.forgetFull(now)
		}
		if len(l.buckets) >= maxBuckets {
			return nil, false
		}
		b = &bucket{}
		l.buckets[key] = b
	}
	b.refill(perMinute, now)
	return b, true
}

// forgetFull drops buckets that were not touched for a minute: they are full,
// and so is a new one.
func (l *limiter) forgetFull(now time.Time) {
	for key, b := range l.buckets {
		if now.Sub(b.at) > time.Minute {
			delete(l.buckets, key)
		}
	}
}

func (b *bucket) refill(perMinute float64, now time.Time) {
	if b.at.IsZero() {
		b.tokens = max(1, perMinute)
	} else if passed := now.Sub(b.at); passed > 0 {
		b.tokens = math.Min(max(1, perMinute), b.tokens+passed.Minutes()*perMinute)
	}
	b.at = now
}

// passLimit is how many objects of count a pass may touch: a fraction, but
// one at least.
func passLimit(fraction float64, count int) int {
	return max(1, int(fraction*float64(count)))
}
