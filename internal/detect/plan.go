// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"
)

const (
	scales     = 6 // block lengths 7.5 min ... 4 h
	ringLevels = 4
	ringSize   = 16
	maxHalves  = 7 // levels above the shortest block that are kept
	grades     = 2
	easy       = 0 // likely: p0 = 1/2, minima and means
	strict     = 1 // confirmed: p0 = 1/√2, minima only, autocorrelation gate

	baseBlock    = 450 * time.Second
	recordWindow = 26 * time.Hour
	recordBlocks = 24

	minBlockSamples = 3
	blockFill       = 0.6
	maxAutocorr     = 0.25
	minIncrements   = 8
)

// The bets: each wins its up factor on a record after a record and keeps its
// down factor otherwise, so that the mean is at most 1 if P(record) <= p0.
const (
	strictBets = 2
	easyBets   = 2
)

type odds struct{ up, down float32 }

func oddsOf(lambda, p0 float64) odds {
	return odds{up: float32(1 + lambda*(1/p0-1)), down: float32(1 - lambda)}
}

// plan is what follows from a Config, worked out once.
type plan struct {
	cfg       Config
	base      int64 // ns of the shortest block
	minAge    int64
	fill      uint32 // max_fill_time in shortest blocks
	hold      int64  // ns without a new proof after which a proven leak is over
	day       uint32 // 24 h in shortest blocks
	quiet     uint32 // 26 h: no record so long means a plateau
	ringShift int    // level whose blocks the first ring keeps
	levels    int
	rotate    [scales]uint16 // blocks after which the record window rotates
	first     [grades][scales]float32
	second    [grades][scales]float32

	strictOdds [strictBets]odds
	easyOdds   [easyBets]odds

	survival survivalPlan
	risk     riskPlan
}

func newPlan(cfg *Config) *plan {
	p := &plan{cfg: *cfg}
	scaled := func(d time.Duration) int64 { return max(1, int64(float64(d)/cfg.TimeScale)) }
	p.base = scaled(baseBlock)
	p.minAge = scaled(cfg.MinAge)
	p.hold = scaled(cfg.Proof.Hold)
	p.fill = uint32((cfg.MaxFillTime + baseBlock - 1) / baseBlock)
	p.day = uint32(24 * time.Hour / baseBlock)
	p.quiet = uint32(recordWindow / baseBlock)
	for ringSize<<p.ringShift < int(p.fill) && p.ringShift < maxHalves-ringLevels {
		p.ringShift++
	}
	p.levels = max(scales, p.ringShift+ringLevels)
	budget := [grades]float64{easy: cfg.BudgetLikely, strict: cfg.BudgetConfirmed}
	ladders := [grades]float64{easy: 2 * scales, strict: scales}
	for k := range scales {
		block := baseBlock << k
		p.rotate[k] = uint16(max(int(recordWindow/block), recordBlocks))
		for g := range grades {
			c := ladders[g] * float64(24*time.Hour) / float64(block) * 1000 / budget[g]
			p.first[g][k] = float32(max(c, 10))
			p.second[g][k] = float32(max(math.Sqrt(c), 10))
		}
	}
	for i, lambda := range [strictBets]float64{0.6, 0.93} {
		p.strictOdds[i] = oddsOf(lambda, math.Sqrt2/2)
	}
	for i, lambda := range [easyBets]float64{0.4, 0.85} {
		p.easyOdds[i] = oddsOf(lambda, 0.5)
	}
	p.survival = newSurvivalPlan(cfg)
	p.risk = newRiskPlan(cfg)
	return p
}
