// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/hex"
	"fmt"
	"hash/fnv"
	"math"
	"strconv"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// finding is a Finding with what decides when it is sent again.
type finding struct {
	leak.Finding
	group   *group
	limited *Series // of at_risk: the series that nears its limit
	emitted int64
}

func (l *Life) open(p *plan, g *group, basis leak.Basis, t int64) *finding {
	f := &finding{Finding: leak.NewFinding(), group: g}
	f.Kind, f.Site, f.Basis = g.kind, g.site, basis
	f.TimeScale = p.cfg.TimeScale
	f.Process, f.Provenance = l.Process, l.Provenance
	f.Role = leak.RoleCorroborates
	h := fnv.New128a()
	for _, part := range []string{l.Key, string(g.kind), g.site, string(basis), strconv.FormatInt(t, 10)} {
		_, _ = h.Write([]byte(part))
		_, _ = h.Write([]byte{0})
	}
	f.ID = hex.EncodeToString(h.Sum(nil)[:12])
	l.findings = append(l.findings, f)
	return f
}

func (f *finding) move(to leak.State, t int64) {
	f.Previous, f.State = f.State, to
	f.Since, f.Time = time.Unix(0, t), time.Unix(0, t)
}

func (f *finding) fill(c *claim) {
	f.Source, f.Basis = c.source, c.basis
	f.refresh(c)
	f.Reason = c.reason()
}

// refresh takes the numbers of a claim; what identifies the finding stays.
func (f *finding) refresh(c *claim) {
	f.Value, f.Growth, f.Evidence, f.LifetimeP99 = c.value, c.growth, c.evidence, c.p99
	f.Interval = time.Duration(c.interval)
	if c.onset != 0 {
		f.Onset = time.Unix(0, c.onset)
	}
}

// specificity orders what names the cause better: a site before none, a kind
// before the sum of kinds.
func (f *finding) specificity() int {
	n := 0
	if f.Site != "" {
		n += 10
	}
	switch f.Kind {
	case leak.KindMemory:
	case leak.KindDescriptor, leak.KindThread:
		n++
	default:
		n += 2
	}
	return n
}

// roles names one primary for the incident that a life's findings are. What
// rests on objects of a site of its own is always primary: it is no shadow
// of another.
func (l *Life) roles() {
	var best *finding
	objects := 0
	for _, f := range l.findings {
		if f.Basis == leak.BasisLimit {
			f.Role = leak.RolePrimary
			continue
		}
		if !f.State.Open() {
			continue
		}
		if f.Site != "" && f.Basis != leak.BasisTrend && stateRank(f.State) > 1 {
			f.Role = leak.RolePrimary
			objects = max(objects, stateRank(f.State))
			continue
		}
		f.Role = leak.RoleCorroborates
		if best == nil || f.before(best) {
			best = f
		}
	}
	if best != nil && stateRank(best.State) > objects {
		best.Role = leak.RolePrimary
	}
}

func (f *finding) before(o *finding) bool {
	if a, b := stateRank(f.State), stateRank(o.State); a != b {
		return a > b
	}
	if a, b := f.specificity(), o.specificity(); a != b {
		return a > b
	}
	return f.Since.Before(o.Since)
}

// exhaustion completes a finding by the limit of s: its own series, or the sum
// to which its objects count.
func (f *finding) exhaustion(s *Series) {
	limit, known := f.group.life.limit(s.spec.Limit)
	if !known {
		return
	}
	f.Limit, f.LimitScope, f.TimeToExhaustion = limit, s.spec.Scope, math.NaN()
	if f.Growth > 0 {
		f.TimeToExhaustion = max(0, limit-s.value) / f.Growth
	}
}

func (f *finding) risky(r *risk, s *Series, limit float64) {
	f.Source, f.Value, f.Limit, f.LimitScope = s.spec.Metric, s.value, limit, s.spec.Scope
	f.Growth, f.TimeToExhaustion = r.slope, r.tte
	f.Interval = time.Duration(s.interval)
	f.Reason = fmt.Sprintf("%.0f of %.0f in use, growing by %.3g a second: the limit is reached in %s (between %s and %s) if this goes on; this says nothing about why",
		s.value, limit, r.slope, seconds(bounded(r.tte)), seconds(bounded(r.low)), seconds(bounded(r.high)))
}

// bounded keeps an endless time printable.
func bounded(s float64) float64 {
	const year = 366 * 86400
	return float64(int64(min(s, year)))
}
