// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"slices"
	"time"
)

const (
	riskPoints  = 16
	riskRaise   = 3 // evaluations in a row
	riskMinimum = 6 // points before anything is said
)

type riskPlan struct {
	horizon float64 // s
	usage   float64
	calm    int64 // ns below risk before it clears
	span    int64 // ns that one point of bytes covers at least
}

func newRiskPlan(cfg *Config) riskPlan {
	return riskPlan{
		horizon: cfg.AtRisk.Horizon.Seconds() / cfg.TimeScale,
		usage:   cfg.AtRisk.MinUsage,
		calm:    int64(float64(5*time.Minute) / cfg.TimeScale),
		span:    int64(float64(2*time.Minute) / cfg.TimeScale),
	}
}

// risk keeps the newest points of a series that has a limit. Points of bytes
// are minima over some minutes, since a collector's sawtooth is no climb;
// points of descriptors are samples, since they can run out in a minute.
type risk struct {
	at      [riskPoints]int64
	value   [riskPoints]float64
	peak    float64
	n       uint32 // points ever
	open    int64  // begin of the point being filled, of bytes only
	thin    bool
	hits    uint8
	raised  bool
	anew    bool  // the process was started anew since it was judged
	since   int64 // last time the risk was there
	tte     float64
	finding *finding
	low     float64 // time to exhaustion by the 75th percentile of slopes
	high    float64 // and by the 25th
	slope   float64
	fresh   bool
}

func (r *risk) add(p *riskPlan, t int64, v float64) {
	r.fresh = true
	i := (r.n - 1) % riskPoints
	if r.thin && r.n > 0 && t-r.open < p.span {
		if v < r.value[i] {
			r.value[i], r.at[i] = v, t
		}
		r.peak = max(r.peak*0.999, v)
		return
	}
	i = r.n % riskPoints
	r.at[i], r.value[i], r.open = t, v, t
	r.peak = max(r.peak*0.999, v)
	if !r.thin {
		r.peak = v
	}
	r.n++
}

// judge evaluates time to exhaustion against limit. It reports a change.
func (r *risk) judge(p *riskPlan, scratch *[]float64, now int64, limit float64) bool {
	if !r.fresh {
		return false
	}
	r.fresh = false
	usage := r.peak / limit
	if !r.raised && usage < p.usage {
		r.hits = 0
		return false
	}
	r.estimate(scratch, limit)
	threatened := usage >= p.usage && r.high <= p.horizon && r.slope > 0
	if threatened {
		r.since = now
		r.hits = min(r.hits+1, riskRaise)
	} else {
		r.hits = 0
	}
	switch {
	case !r.raised && r.hits >= riskRaise:
		r.raised = true
		return true
	case r.raised && now-r.since > p.calm && (r.slope <= 0 || r.tte > 2*p.horizon):
		r.raised = false
		return true
	}
	return false
}

func (r *risk) estimate(scratch *[]float64, limit float64) {
	r.tte, r.low, r.high, r.slope = math.Inf(1), math.Inf(1), math.Inf(1), 0
	n := min(r.n, riskPoints)
	if n < riskMinimum {
		return
	}
	pairs := (*scratch)[:0]
	for i := range n {
		for j := range i {
			if dt := r.at[i] - r.at[j]; dt != 0 {
				pairs = append(pairs, (r.value[i]-r.value[j])/float64(dt)*1e9)
			}
		}
	}
	*scratch = pairs
	if len(pairs) == 0 {
		return
	}
	slices.Sort(pairs)
	left := max(0, limit-r.peak)
	reach := func(slope float64) float64 {
		if slope <= 0 {
			return math.Inf(1)
		}
		return left / slope
	}
	r.slope = pairs[len(pairs)/2]
	r.tte, r.low, r.high = reach(r.slope), reach(pairs[len(pairs)*3/4]), reach(pairs[len(pairs)/4])
}
