// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

const (
	maxSeriesPerLife = 1 << 20
	maxFindings      = 4 * MaxGroups
)

func (c *codec) life(e *Engine, l *Life) {
	base, shift := e.plan.base, e.plan.ringShift
	c.i64(&base)
	c.int(&shift)
	if base != e.plan.base || shift != e.plan.ringShift {
		c.failed = true
		return
	}
	c.str(&l.Key)
	c.process(&l.Process)
	c.i64(&l.start)
	c.i64(&l.now)
	n := c.length(len(l.limits), maxSeriesPerLife)
	for i := range n {
		if c.read {
			l.limits = append(l.limits, limit{})
		}
		c.str(&l.limits[i].name)
		c.f64(&l.limits[i].value)
		if c.failed {
			return
		}
	}
	n = c.length(len(l.groups), MaxGroups)
	for i := range n {
		if c.read {
			l.groups = append(l.groups, &group{life: l})
		}
		c.group(l.groups[i])
		if c.failed {
			return
		}
	}
	c.findings(l)
}

func (c *codec) process(p *leak.Process) {
	for _, s := range []*string{&p.HostID, &p.BootID, &p.InstanceID, &p.ExecutableName, &p.ExecutablePath, &p.Owner, &p.Cgroup, &p.ServiceName} {
		c.str(s)
	}
	pid := uint32(p.PID)
	c.u32(&pid)
	p.PID = int32(pid)
	c.time(&p.CreationTime)
}

// time keeps the zero time apart from the epoch.
func (c *codec) time(t *time.Time) {
	known := !t.IsZero()
	c.flag(&known)
	if !known {
		return
	}
	ns := t.UnixNano()
	c.i64(&ns)
	*t = time.Unix(0, ns)
}

func (c *codec) group(g *group) {
	text(c, &g.kind)
	c.str(&g.site)
	n := c.length(len(g.series), maxSeriesPerLife)
	for i := range n {
		if c.read {
			g.series = append(g.series, &Series{group: g, spec: &Spec{Kind: g.kind, Site: g.site}, restored: true})
		}
		c.series(g.series[i])
		if c.failed {
			return
		}
	}
	if c.present(g.survival != nil) {
		if c.read {
			g.survival = &survival{}
		}
		c.survival(g.survival)
	}
	if c.present(g.proof != nil) {
		if c.read {
			g.proof = &proof{}
		}
		c.proof(g.proof)
	}
}

func (c *codec) present(yes bool) bool {
	c.flag(&yes)
	return yes && !c.failed
}

func (c *codec) series(s *Series) {
	c.str(&s.spec.ID)
	c.str(&s.spec.Metric)
	c.str(&s.spec.Limit)
	c.str(&s.spec.Scope)
	use := uint8(s.spec.Use)
	c.u8(&use)
	s.spec.Use = Use(use)
	c.flag(&s.spec.Stuck)
	for _, v := range []*int64{&s.start, &s.origin, &s.last, &s.blockEnd} {
		c.i64(v)
	}
	for _, v := range []*float64{&s.interval, &s.sum, &s.value} {
		c.f64(v)
	}
	c.f32(&s.min)
	c.u32(&s.n)
	if c.present(s.trend != nil) {
		if c.read {
			s.trend = newTrend()
		}
		c.trend(s.trend)
	}
	if c.read && s.spec.Limit != "" && s.spec.Use == UseTrend {
		s.risk = &risk{thin: s.spec.Kind.Bytes()}
		s.group.life.limited = append(s.group.life.limited, s)
	}
}

func (c *codec) trend(t *trend) {
	c.u32(&t.blocks)
	for i := range t.half {
		h := &t.half[i]
		c.f32(&h.min, &h.mean)
		c.u32(&h.n)
	}
	for i := range t.lad {
		l := &t.lad[i]
		c.f32(&l.min0, &l.min1, &l.mean0, &l.mean1, &l.last, &l.lastUp)
		c.f32(&l.rho.n, &l.rho.sum, &l.rho.square, &l.rho.product, &l.rho.squares, &l.rho.products)
		c.floats(l.strict[:])
		c.floats(l.easyMin[:])
		c.floats(l.easyMean[:])
		c.u32(&l.onset[easy])
		c.u32(&l.onset[strict])
		c.u32(&l.record)
		c.u16(&l.age)
		c.u8(&l.flags)
		c.u8(&l.past)
	}
	for i := range t.ring {
		c.floats(t.ring[i][:])
	}
	for i := range t.grade {
		g := &t.grade[i]
		c.u32(&g.onset)
		c.u32(&g.crossed)
		c.u32(&g.until)
		c.f32(&g.floor, &g.evidence)
		c.u8(&g.phase)
		c.u8(&g.scale)
		c.u8(&g.drops)
		c.flag(&g.dropped)
		if g.scale >= scales {
			c.failed = true
		}
	}
}

func (c *codec) survival(s *survival) {
	c.doubles(s.bounds[:])
	c.int(&s.buckets)
	c.int(&s.a0)
	if s.buckets < 0 || s.buckets == 1 || s.buckets > maxBuckets+1 || s.a0 < -1 || s.a0 >= max(1, s.buckets-1) {
		c.failed = true
		return
	}
	for i := range s.dead {
		c.u64(&s.dead[i])
		c.u64(&s.age[i])
		c.u64(&s.living[i])
	}
	for _, v := range []*int64{&s.start, &s.deadAt, &s.ageAt, &s.scan, &s.round, &s.onset, &s.idleAt, &s.peakAt} {
		c.i64(v)
	}
	for _, v := range []*float64{&s.interval, &s.old, &s.counted, &s.old0, &s.idle, &s.idleLast, &s.idlePeak, &s.reused, &s.peak, &s.stuck, &s.stuck0} {
		c.f64(v)
	}
	for _, v := range []*uint64{&s.beyond, &s.closed, &s.closed0, &s.longDead} {
		c.u64(v)
	}
	c.doubles(s.e[:])
	c.doubles(s.pending[:])
	c.u32(&s.cohorts)
	for _, h := range []*history{&s.history, &s.stuckHistory} {
		c.doubles(h.value[:])
		c.u32(&h.n)
		c.u32(&h.stride)
		c.u32(&h.taken)
		if h.n > survivalHistory {
			c.failed = true
		}
	}
	for _, v := range []*bool{&s.pool, &s.idleSeen, &s.primed, &s.ended, &s.mechanism} {
		c.flag(v)
	}
	text(c, &s.state)
	c.u8(&s.low)
}

func (c *codec) proof(p *proof) {
	c.str(&p.source)
	c.f64(&p.grown)
	c.f64(&p.value)
	for _, v := range []*int64{&p.since, &p.interval, &p.at, &p.above} {
		c.i64(v)
	}
	c.int(&p.scans)
	c.int(&p.clean)
	c.flag(&p.confirmed)
	c.flag(&p.ended)
}

// findings come last: they point at groups and series.
func (c *codec) findings(l *Life) {
	n := c.length(len(l.findings), maxFindings)
	for i := range n {
		if c.read {
			l.findings = append(l.findings, &finding{Finding: leak.NewFinding()})
		}
		f := l.findings[i]
		c.str(&f.ID)
		text(c, &f.Kind)
		c.str(&f.Site)
		c.str(&f.Source)
		text(c, &f.Basis)
		text(c, &f.Role)
		text(c, &f.State)
		text(c, &f.Previous)
		c.time(&f.Since)
		c.time(&f.Time)
		c.time(&f.Onset)
		for _, v := range []*float64{&f.Evidence, &f.Growth, &f.TimeToExhaustion, &f.Value, &f.Limit, &f.LifetimeP99, &f.TimeScale} {
			c.f64(v)
		}
		c.str(&f.LimitScope)
		c.str(&f.Reason)
		interval := int64(f.Interval)
		c.i64(&interval)
		f.Interval = time.Duration(interval)
		c.i64(&f.emitted)
		if c.failed {
			return
		}
		if c.read {
			l.attach(f)
		}
	}
	if c.read {
		keep := l.findings[:0]
		for _, f := range l.findings {
			if f.group != nil {
				keep = append(keep, f)
			}
		}
		l.findings = keep
	}
}

// attach ties a restored finding to what it is about.
func (l *Life) attach(f *finding) {
	f.Process = l.Process
	for _, g := range l.groups {
		if g.kind != f.Kind || g.site != f.Site {
			continue
		}
		f.group = g
		if f.Basis != leak.BasisLimit {
			g.finding = f
			return
		}
		for _, s := range g.series {
			if s.risk != nil && s.spec.Metric == f.Source && f.State == leak.StateAtRisk {
				s.risk.finding, s.risk.raised, s.risk.since, f.limited = f, true, s.last, s
				return
			}
		}
		f.group = nil // its series is gone: at_risk begins anew
		return
	}
}
