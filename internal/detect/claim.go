// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// claim is what one source of evidence says of one kind and site.
type claim struct {
	state    leak.State
	basis    leak.Basis
	source   string
	value    float64
	growth   float64 // per second
	evidence float64 // log10
	p99      float64 // s
	onset    int64
	block    int64 // ns, of the trend that alarmed
	interval int64
	dropped  bool // where it ended: the count fell
	detail   string
}

func stateRank(s leak.State) int {
	switch s {
	case leak.StateSuspected:
		return 1
	case leak.StateLikely:
		return 2
	case leak.StateConfirmed:
		return 3
	default:
		return 0
	}
}

func basisRank(b leak.Basis) int {
	switch b {
	case leak.BasisProof:
		return 3
	case leak.BasisSurvival:
		return 2
	case leak.BasisTrend:
		return 1
	default:
		return 0
	}
}

func (c *claim) stronger(o *claim) bool {
	if a, b := stateRank(c.state), stateRank(o.state); a != b {
		return a > b
	}
	if a, b := basisRank(c.basis), basisRank(o.basis); a != b {
		return a > b
	}
	return false
}

// survivalClaim is what the ages at a site say now.
func (s *survival) claim() claim {
	c := claim{
		state: s.state, basis: leak.BasisSurvival, source: leak.MetricObjectAge, value: s.old, onset: s.onset,
		evidence: math.Log10(max(s.wealth(), 1)), growth: math.NaN(), p99: math.NaN(), dropped: s.ended,
		interval: int64(s.interval),
	}
	if span := float64(s.scan-s.onset) / 1e9; span > 0 {
		c.growth = (s.old - s.old0) / span
	}
	if q, known := s.quantile99(); known {
		c.p99 = q
	}
	if s.a0 >= 0 && s.buckets > 0 {
		c.detail = fmt.Sprintf("%.0f objects older than %s are still open, %.0f more than at the onset, while %d others were closed in the same time and 99 %% of all closed live at most %s",
			s.old, seconds(s.bounds[s.a0]), max(0, s.old-s.old0), s.closed-min(s.closed, s.closed0), seconds(c.p99))
		if s.mechanism {
			c.detail += fmt.Sprintf("; %.0f of all can never be used again, since their other ends are gone", s.stuck)
		}
	}
	return c
}

// unknownClaim claims nothing, and knows no numbers.
func unknownClaim(b leak.Basis) claim {
	nan := math.NaN()
	return claim{basis: b, growth: nan, evidence: nan, p99: nan}
}

func (c *claim) reason() string {
	if c.basis != leak.BasisTrend {
		return c.detail
	}
	return fmt.Sprintf("since %s nearly every low point of %s blocks was the highest in more than a day, and growth did not slow down",
		time.Unix(0, c.onset).UTC().Format(time.RFC3339), time.Duration(c.block).Round(time.Millisecond))
}

func seconds(s float64) string {
	return time.Duration(s * 1e9).String()
}
