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
}

// history is the old count since the onset, thinned to a fixed size.
type history struct {
	value         [survivalHistory]float64
	n             uint32
	stride, taken uint32
}

func (h *history) add(v float64) {
	if h.stride == 0 {
		h.stride = 1
	}
	h.taken++
	if h.taken < h.stride {
		return
	}
	h.taken = 0
	if h.n == survivalHistory {
		for i := range survivalHistory / 2 {
			h.value[i] = h.value[2*i+1]
		}
		h.n /= 2
		h.stride *= 2
	}
	h.value[h.n] = v
	h.n++
}

func (h *history) climbs() bool {
	if h.n < 8 {
		return false
	}
	third := func(i uint32) float64 {
		w := max(1, h.n/8)
		from := (h.n - w) * i / 2
		sum := 0.0
		for _, v := range h.value[from : from+w] {
			sum += v
		}
		return sum / float64(w)
	}
	a, b, c := third(0), third(1), third(2)
	return b > a && c-b >= 0.6*(b-a)
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
func (s *survival) step(p *survivalPlan) (changed bool) {
	if s.buckets == 0 || s.deadAt != s.ageAt || s.ageAt <= s.scan {
		return false
	}
	now, before := s.ageAt, s.scan
	s.scan = now
	s.closed = 0
	for _, c := range s.dead[:s.buckets] {
		s.closed += c
	}
	if s.idleAt != 0 {
		s.sawIdle()
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
	s.history = history{}
	s.history.add(s.old)
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
