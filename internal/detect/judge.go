// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// Engine holds what all lives share.
type Engine struct {
	plan    *plan
	scratch []float64
	series  int
	horizon int64 // newest time that a right clock can show
}

// New returns an engine for a valid configuration.
func New(cfg *Config) (*Engine, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Engine{plan: newPlan(cfg), scratch: make([]float64, 0, riskPoints*riskPoints/2), horizon: math.MaxInt64}, nil
}

// Judge draws the conclusions of a batch of samples. It reports whether a
// finding opened, changed its state or closed.
func (e *Engine) Judge(l *Life) (transition bool) {
	for _, f := range l.findings {
		if f.State.Open() { // what closed since keeps the time of its end
			f.Time = time.Unix(0, l.now)
		}
	}
	if l.touched {
		l.touched = false
		for _, g := range l.groups {
			if g.touched {
				g.touched = false
				transition = e.judge(g) || transition
			}
		}
	}
	for _, s := range l.limited {
		transition = e.judgeRisk(s) || transition
	}
	for _, f := range l.findings {
		e.follow(f)
	}
	if transition {
		l.roles()
	}
	return transition
}

// follow keeps the numbers of a standing finding up to date.
func (e *Engine) follow(f *finding) {
	if !f.State.Open() || f.Basis == leak.BasisLimit {
		return
	}
	for _, s := range f.group.series {
		if s.spec.Metric != f.Source {
			continue
		}
		f.Value = s.value
		if s.spec.Limit != "" {
			f.exhaustion(s)
			return
		}
	}
	if f.Kind.Descriptor() {
		if sum := f.group.life.descriptors(); sum != nil {
			f.exhaustion(sum)
		}
	}
}

func (e *Engine) judge(g *group) bool {
	if g.restarted {
		g.restarted = false
		g.survival, g.proof = nil, nil
		if g.finding != nil && g.finding.State.Open() {
			g.finding.close(leak.StateResolved, g.life.now, restartedReason)
			return true
		}
		return false
	}
	best := g.strongest(e.plan)
	f := g.finding
	if f == nil || !f.State.Open() {
		if best.state == leak.StateClear {
			return false
		}
		f = g.life.open(e.plan, g, best.basis, g.life.now)
		g.finding = f
		f.move(best.state, g.life.now)
		f.fill(&best)
		return true
	}
	if best.state == leak.StateClear {
		to, reason := leak.StateRetracted, "it stopped growing before it could be confirmed"
		if best.dropped {
			to, reason = leak.StateResolved, "the count fell back and stayed down"
		} else if f.State == leak.StateConfirmed {
			to, reason = leak.StateResolved, "it has stopped growing"
		}
		f.close(to, g.life.now, reason)
		return true
	}
	if stateRank(best.state) > stateRank(f.State) {
		f.move(best.state, g.life.now)
		f.fill(&best)
		return true
	}
	if best.basis == f.Basis {
		f.refresh(&best)
	}
	return false
}

// strongest asks every source of evidence of the group.
func (g *group) strongest(p *plan) claim {
	var best claim
	take := func(c claim) {
		c.dropped = c.dropped || best.dropped
		if c.stronger(&best) {
			best = c
		}
		best.dropped = c.dropped
	}
	for _, s := range g.series {
		switch s.spec.Use {
		case UseTrend:
			if s.trend != nil {
				take(s.claim(p))
			}
		case UseProof:
			// There is none before an accepted point, nor after a restart.
			if g.proof != nil && s.last > g.proof.at {
				g.proof.add(&p.cfg.Proof, p.hold, s.last, s.value)
			}
		}
	}
	if g.survival != nil {
		g.survival.step(&p.survival, g.stuck(g.survival.ageAt-p.survival.silence))
		take(g.survival.claim())
	}
	if g.proof != nil {
		take(g.proof.claim())
	}
	return best
}

// stuck counts the objects of the group that can never be used again, as far
// as it was said since.
func (g *group) stuck(since int64) float64 {
	n := 0.0
	for _, s := range g.series {
		if s.spec.Stuck && s.last >= since {
			n += s.value
		}
	}
	return n
}

func (e *Engine) judgeRisk(s *Series) bool {
	l := s.group.life
	if s.risk.anew {
		s.risk.anew = false
		return s.risk.end(l.now, restartedReason)
	}
	limit, known := l.limit(s.spec.Limit)
	if !known || !s.risk.judge(&e.plan.risk, &e.scratch, s.last, limit) {
		if f := s.risk.finding; f != nil && s.risk.raised {
			f.risky(s.risk, s, limit)
		}
		return false
	}
	if s.risk.raised {
		f := l.open(e.plan, s.group, leak.BasisLimit, l.now)
		f.limited, s.risk.finding = s, f
		f.move(leak.StateAtRisk, l.now)
		f.risky(s.risk, s, limit)
		return true
	}
	return s.risk.end(l.now, "the limit is no longer near")
}

// end closes what was said of the risk, if anything was.
func (r *risk) end(t int64, reason string) bool {
	f := r.finding
	r.finding = nil
	if f == nil || !f.State.Open() {
		return false
	}
	f.close(leak.StateResolved, t, reason)
	return true
}

// restartedReason ends what was said of a process whose series began anew.
const restartedReason = "the process was started anew"

func (f *finding) close(to leak.State, t int64, reason string) {
	f.move(to, t)
	f.Reason = reason
}

// Gone ends every finding of a life that ended. It reports whether there is
// any to be sent.
func (l *Life) Gone(t int64, reason string) bool {
	l.now = max(l.now, t)
	for _, f := range l.findings {
		if f.State.Open() {
			f.close(leak.StateResolved, l.now, reason)
		}
	}
	return len(l.findings) > 0
}

// Findings appends what is to be sent now: every open finding whose evidence
// is newer than what was sent, and each ended one once. A suspicion is left
// out unless asked for.
func (l *Life) Findings(dst []leak.Finding, suspected bool) []leak.Finding {
	keep := l.findings[:0]
	for _, f := range l.findings {
		if t := f.Time.UnixNano(); t > f.emitted || f.State.Closed() {
			f.emitted = t
			dst = f.append(dst, suspected)
		}
		if f.State.Closed() {
			if f.group.finding == f {
				f.group.finding = nil
			}
			continue
		}
		keep = append(keep, f)
	}
	ended := len(keep) < len(l.findings)
	clear(l.findings[len(keep):])
	l.findings = keep
	if ended {
		l.prune()
	}
	return dst
}

func (f *finding) append(dst []leak.Finding, suspected bool) []leak.Finding {
	out := f.Finding
	if !suspected {
		if out.State == leak.StateSuspected || out.State.Closed() && out.Previous == leak.StateSuspected {
			return dst
		}
		if out.Previous == leak.StateSuspected {
			out.Previous = leak.StateClear
		}
	}
	return append(dst, out)
}

// HasFindings reports whether any finding is open or about to close.
func (l *Life) HasFindings() bool { return len(l.findings) > 0 }

// Open calls fn for every open finding.
func (l *Life) Open(fn func(*leak.Finding)) {
	for _, f := range l.findings {
		if f.State.Open() {
			fn(&f.Finding)
		}
	}
}
