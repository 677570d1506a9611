// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"

	"github.com/otel-memguard/memguard/internal/leak"
)

// MaxValue is the largest sample that is judged: what exceeds it is a
// sentinel ("unlimited") or garbage.
const MaxValue = 1e18

// Refusal says why a sample was not judged.
type Refusal uint8

// The reasons. Their order is that of RefusalNames.
const (
	Accepted Refusal = iota
	NotFinite
	Negative
	TooLarge
	Duplicate
	Late
	Shape
)

// RefusalNames are the values of the attribute `reason` in telemetry.
var RefusalNames = [...]string{"accepted", "not_finite", "negative", "too_large", "duplicate", "late", "bucket_bounds"}

// Series is one stream of samples. Times are nanoseconds of event time.
type Series struct {
	group *group
	spec  *Spec
	start int64 // start of the life as this stream says, 0 unknown

	origin   int64 // begin of the first block, 0 before any
	last     int64
	blockEnd int64
	interval float64 // ns between samples
	sum      float64
	value    float64
	min      float32
	n        uint32

	trend    *trend
	risk     *risk
	late     lateness
	restored bool // read from storage, not yet seen again
}

// Value returns the newest sample and its time.
func (s *Series) Value() (value float64, at int64) { return s.value, s.last }

// Life returns the life of which the series is a part.
func (s *Series) Life() *Life { return s.group.life }

func check(v float64) Refusal {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return NotFinite
	case v < 0:
		return Negative
	case v > MaxValue:
		return TooLarge
	}
	return Accepted
}

// Observe takes one sample. start is the StartTimestamp of the stream, 0 if it
// has none: a newer one begins the series anew.
func (s *Series) Observe(e *Engine, start, t int64, v float64) Refusal {
	if r := check(v); r != Accepted {
		return r
	}
	if t <= s.last {
		if t == s.last {
			return Duplicate
		}
		if !s.late.steppedBack(e.horizon, s.last, t) {
			return Late
		}
		s.stepBack(e, t)
	}
	s.late.n = 0
	if start > s.start && s.start != 0 && start-s.start > startSlack {
		s.restart()
	}
	if start != 0 {
		s.start = start
	}
	if s.last != 0 {
		s.tick(float64(t - s.last))
	}
	s.last, s.value = t, v
	l := s.group.life
	l.now = max(l.now, t)
	if s.spec.Use != UseTrend {
		s.group.evidence(s)
		return Accepted
	}
	if s.risk != nil {
		s.risk.add(&e.plan.risk, t, v)
	}
	if t >= s.blockEnd && !s.turn(e.plan, t) {
		return Accepted
	}
	if f := float32(v); s.n == 0 || f < s.min {
		s.min = f
	}
	s.sum += v
	s.n++
	return Accepted
}

// startSlack is how far start times of one life may lie apart: some sources
// derive them from uptime in whole seconds.
const startSlack = 5e9

// restart forgets what was learned of the life before.
func (s *Series) restart() {
	s.origin, s.blockEnd, s.n, s.sum, s.interval = 0, 0, 0, 0, 0
	s.trend = nil
	if s.risk != nil {
		*s.risk = risk{thin: s.risk.thin, finding: s.risk.finding, anew: true}
	}
	s.group.restarted = true
	s.group.touch()
}

// tick follows the median interval by small steps.
func (s *Series) tick(d float64) {
	switch {
	case s.interval == 0:
		s.interval = d
	case d > s.interval:
		s.interval = min(d, s.interval*(1+1.0/16))
	default:
		s.interval = max(d, s.interval*(1-1.0/16))
	}
}

// turn closes the blocks that ended before t. It reports whether t belongs to
// a block: a sample of too young a process does not.
func (s *Series) turn(p *plan, t int64) bool {
	if s.origin == 0 {
		if born := max(s.start, s.group.life.start); born != 0 && t < born+p.minAge {
			return false
		}
		s.begin(p, t)
		return true
	}
	missed := (t - s.blockEnd) / p.base
	if missed > maxGap<<(scales-1) {
		s.trend = nil
		s.begin(p, t)
		return true
	}
	if s.trend == nil {
		s.trend = newTrend()
	}
	expected := 1.0
	if s.interval > 0 {
		expected = float64(p.base) / s.interval
	}
	block := summary{n: s.n, min: s.min}
	if s.n > 0 {
		block.mean = float32(s.sum / float64(s.n))
	}
	s.step(p, block, expected)
	for range missed {
		s.step(p, summary{}, expected)
	}
	s.blockEnd += (missed + 1) * p.base
	s.n, s.sum = 0, 0
	return true
}

func (s *Series) begin(p *plan, t int64) {
	s.origin, s.blockEnd, s.n, s.sum = t, t+p.base, 0, 0
}

func (s *Series) step(p *plan, block summary, expected float64) {
	s.trend.push(p, block, expected)
	for g := range grades {
		if s.trend.judge(p, g) != unchanged || s.trend.grade[g].phase == standing {
			s.group.touch()
		}
	}
}

// time turns a block index into event time.
func (s *Series) time(p *plan, index uint32) int64 { return s.origin + int64(index)*p.base }

// claim is what the trend of s says now.
func (s *Series) claim(p *plan) claim {
	c := claim{basis: leak.BasisTrend, source: s.spec.Metric, value: s.value, growth: math.NaN(), evidence: math.NaN(), p99: math.NaN(), interval: int64(s.interval)}
	if s.trend == nil {
		return c
	}
	for g, state := range [grades]leak.State{easy: leak.StateLikely, strict: leak.StateConfirmed} {
		gr := &s.trend.grade[g]
		switch gr.phase {
		case idle:
			c.dropped = c.dropped || gr.dropped
			continue
		case standing:
			c.state = state
		default:
			if c.state == leak.StateClear {
				c.state = leak.StateSuspected
			}
		}
		if g == strict && gr.phase != standing && c.state == leak.StateLikely {
			continue // the evidence of the grade that stands
		}
		c.evidence = float64(gr.evidence)
		c.onset = s.time(p, gr.onset)
		c.block = p.base << gr.scale
		var run troughs
		s.trend.ring.run(p, gr.onset, s.trend.blocks, &run)
		c.growth = run.slope() / (float64(p.base) / 1e9)
	}
	return c
}
