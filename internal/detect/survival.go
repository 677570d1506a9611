// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

const (
	maxBuckets      = 24
	survivalBets    = 3
	survivalHistory = 32
	cohortCap       = 4  // objects of one scan that count as independent
	minCohorts      = 12 // scans that brought survivors
	longSilence     = 10 * time.Minute
)

type survivalPlan struct {
	hazard    float64 // of an old object under the null, per ns
	floor     float64 // s
	step      int64   // ns between rounds of the e-detector
	silence   int64
	plateau   int64
	minClosed uint64
	minOld    float64
	idle      bool
	bars      [3]float64 // suspected, likely, confirmed
	gain      [survivalBets]float64
}

func newSurvivalPlan(cfg *Config) survivalPlan {
	p := survivalPlan{
		hazard:    cfg.TimeScale / float64(cfg.Survival.MaxIdleLife),
		floor:     cfg.Survival.Floor.Seconds() / cfg.TimeScale,
		step:      int64(float64(time.Minute) / cfg.TimeScale),
		silence:   int64(float64(longSilence) / cfg.TimeScale),
		plateau:   int64(float64(cfg.MaxFillTime) / cfg.TimeScale),
		minClosed: cfg.Survival.MinClosed,
		minOld:    float64(cfg.Survival.MinOld),
		idle:      cfg.Survival.RequireIdle,
	}
	rounds := float64(24*time.Hour) / float64(time.Minute) * 1000
	p.bars = [3]float64{1e3, max(1e3, rounds/cfg.BudgetLikely), max(1e3, rounds/cfg.BudgetConfirmed)}
	for i, theta := range [survivalBets]float64{0.7, 2.3, 6} {
		p.gain[i] = 1 - math.Exp(-theta)
	}
	return p
}

// survival is the test on ages of the objects of one site: under the null an
// object older than a0, ten times the 99th percentile of closed lifetimes,
// is closed with at least a given hazard.
type survival struct {
	bounds  [maxBuckets]float64 // s
	buckets int                 // counts in use: bounds + 1
	dead    [maxBuckets + 1]uint64
	age     [maxBuckets + 1]uint64
	start   int64 // StartTimestamp of the lifetimes
	deadAt  int64 // time of the newest histogram of each
	ageAt   int64

	scan     int64 // newest scan taken in
	round    int64 // newest round of the e-detector
	interval float64
	a0       int // bucket of lifetimes up to a0; -1 unknown
	old      float64
	counted  float64 // of the old, those that count as independent
	beyond   uint64  // deaths beyond a0 at the newest scan
	closed   uint64
	e        [survivalBets]float64
	pending  [survivalBets]float64 // log of the round under way
	onset    int64
	cohorts  uint32
	closed0  uint64 // at the onset
	old0     float64
	history  history

	stuck, stuck0 float64 // objects that can never be used again; at the onset
	stuckHistory  history
	mechanism     bool // they are what was confirmed

	living           [maxBuckets + 1]uint64 // of the age of each bucket or more
	idle, idleLast   float64
	idlePeak, reused float64
	idleAt           int64 // time of the newest idle count, 0 for none ever
	longDead         uint64
	idleSeen         bool
	pool             bool
	state            leak.State
	peak             float64
	peakAt           int64
	low              uint8
	ended            bool
	primed           bool
	late             lateness
}

// setBounds takes the bucket bounds, once. Histograms with others are refused.
func (s *survival) setBounds(bounds []float64) bool {
	if s.buckets == 0 {
		if len(bounds) == 0 || len(bounds) > maxBuckets {
			return false
		}
		for i, b := range bounds {
			if math.IsNaN(b) || i > 0 && b <= bounds[i-1] {
				return false
			}
		}
		s.buckets = copy(s.bounds[:], bounds) + 1
		s.a0 = -1
		return true
	}
	if len(bounds) != s.buckets-1 {
		return false
	}
	for i, b := range bounds {
		if b != s.bounds[i] {
			return false
		}
	}
	return true
}

// sum adds the counts beyond bound i.
func (s *survival) sum(counts *[maxBuckets + 1]uint64, i int) uint64 {
	var n uint64
	for _, c := range counts[i+1 : s.buckets] {
		n += c
	}
	return n
}

// quantile99 returns the bound below which 99 % of the closed lifetimes lie.
func (s *survival) quantile99() (seconds float64, known bool) {
	if s.closed == 0 || s.buckets < 2 {
		return 0, false
	}
	var n uint64
	for i, c := range s.dead[:s.buckets-1] {
		n += c
		if float64(n) >= 0.99*float64(s.closed) {
			return s.bounds[i], true
		}
	}
	return 0, false
}

// oldAge chooses a0: the first bound at or above both the floor and ten
// times the 99th percentile. -1 if there is none, or too little has closed.
func (s *survival) oldAge(p *survivalPlan) int {
	q, known := s.quantile99()
	if s.closed < p.minClosed || !known {
		return -1
	}
	for i, b := range s.bounds[:s.buckets-1] {
		if b >= p.floor && b >= 10*q {
			return i
		}
	}
	return -1
}

// step takes one scan: both histograms of the same time.
func (s *survival) step(p *survivalPlan, stuck float64) (changed bool) {
	if s.buckets == 0 || s.deadAt != s.ageAt || s.ageAt <= s.scan {
		return false
	}
	now, before := s.ageAt, s.scan
	s.scan = now
	s.closed = 0
	for _, c := range s.dead[:s.buckets] {
		s.closed += c
	}
	if more := s.sawStuck(stuck); s.idleAt != 0 {
		s.sawIdle(more)
	}
	a0 := s.oldAge(p)
	if a0 < 0 || a0 != s.a0 || !s.primed || now-before > p.silence {
		s.rebase(a0, now)
		return s.setState(leak.StateClear, now)
	}
	s.interval = float64(now - before)
	old, beyond := float64(s.sum(&s.age, a0)), s.sum(&s.dead, a0)
	deaths := float64(beyond - min(beyond, s.beyond))
	crossed := max(0, old-s.old+deaths)
	share, alive := 1.0, s.counted
	if s.old > 0 {
		share = min(1, s.counted/s.old)
		alive = max(0, s.counted*(1-deaths/max(s.old, deaths)))
	}
	exposure := p.hazard * alive * s.interval
	for i, g := range p.gain {
		s.pending[i] += exposure*g + deaths*math.Log1p(-share*g)
	}
	s.counted = min(old, alive+min(cohortCap, crossed))
	s.old, s.beyond = old, beyond
	if crossed > 0 {
		s.cohorts++
	}
	s.history.add(old)
	s.stuckHistory.add(stuck)
	if now-s.round >= p.step {
		s.settle(now)
	}
	return s.setState(s.judge(p), now)
}

// rebase begins anew at another a0. Old objects already there are one cohort:
// where they come from is not known.
func (s *survival) rebase(a0 int, now int64) {
	s.a0, s.primed = a0, a0 >= 0
	s.old, s.counted, s.beyond = 0, 0, 0
	if a0 >= 0 {
		s.old, s.beyond = float64(s.sum(&s.age, a0)), s.sum(&s.dead, a0)
		s.counted = min(s.old, cohortCap)
	}
	s.pending = [survivalBets]float64{}
	for i := range s.e {
		s.e[i] = 1
	}
	s.begin(now)
}

func (s *survival) begin(now int64) {
	s.onset, s.round, s.cohorts = now, now, 0
	s.closed0, s.old0 = s.closed, s.old
	s.history, s.stuckHistory = history{}, history{}
	s.history.add(s.old)
	s.stuckHistory.add(s.stuck)
	s.stuck0, s.mechanism = s.stuck, false
}

// settle closes a round of the e-detector.
func (s *survival) settle(now int64) {
	for i := range s.e {
		s.e[i] = min(max(1, s.e[i])*math.Exp(s.pending[i]), 1e300)
		s.pending[i] = 0
	}
	s.round = now
	if s.wealth() <= 1 && s.state != leak.StateConfirmed && s.state != leak.StateLikely {
		s.begin(now)
	}
}

func (s *survival) wealth() float64 { return (s.e[0] + s.e[1] + s.e[2]) / survivalBets }
