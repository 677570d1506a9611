// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"

	"github.com/otel-memguard/memguard/internal/leak"
)

// MaxGroups bounds the kinds and sites of one life.
const MaxGroups = 256

// Life is one life of one process, or of what stands for one where the data
// names no process.
type Life struct {
	Key        string // of the identity; part of finding ids
	Process    leak.Process
	Provenance *leak.Provenance

	start    int64 // creation of the process, 0 unknown
	now      int64 // newest event time
	groups   []*group
	limits   []limit
	limited  []*Series // series with a limit
	findings []*finding
	touched  bool
	rewound  bool
}

type limit struct {
	name  string
	value float64
}

// group is everything known of one kind at one site.
type group struct {
	life      *Life
	kind      leak.Kind
	site      string
	series    []*Series
	objects   int // histograms of the site that are watched
	survival  *survival
	proof     *proof
	finding   *finding
	touched   bool
	restarted bool
}

// NewLife begins a life. start is the creation of the process in ns, 0 if not
// known.
func NewLife(key string, process *leak.Process, provenance *leak.Provenance, start int64) *Life {
	return &Life{Key: key, Process: *process, Provenance: provenance, start: start}
}

// Now returns the newest event time.
func (l *Life) Now() int64 { return l.now }

// Tick says that time went on to t, by a point that is not judged.
func (l *Life) Tick(t int64) { l.now = max(l.now, t) }

// Spec names a new series.
type Spec struct {
	ID     string // stable over restarts, unique within the life
	Metric string
	Kind   leak.Kind
	Site   string
	Limit  string // metric that holds the limit, "" for none
	Scope  string // where that limit is enforced
	Use    Use
	// Stuck says that the objects counted can never be used again, such as
	// sockets that the other end has closed: a second witness of survival.
	Stuck bool
}

// Use says what a series is evidence for.
type Use uint8

// The uses of a series.
const (
	UseTrend Use = iota
	UseIdle
	UseProof
)

// Series adds a series and keeps spec, or finds it again after a restart. Nil
// means that the life has too many kinds and sites.
func (l *Life) Series(e *Engine, spec *Spec) *Series {
	g := l.group(spec.Kind, spec.Site)
	if g == nil {
		return nil
	}
	for _, s := range g.series {
		if s.restored && s.spec.ID == spec.ID && s.spec.Use == spec.Use {
			s.restored = false
			return s
		}
	}
	s := &Series{group: g, spec: spec}
	if spec.Limit != "" && spec.Use == UseTrend {
		s.risk = &risk{thin: spec.Kind.Bytes()}
		l.limited = append(l.limited, s)
	}
	g.series = append(g.series, s)
	e.series++
	return s
}

// Objects returns the population of a kind at a site. Nil means too many.
func (l *Life) Objects(kind leak.Kind, site string) *Objects {
	g := l.group(kind, site)
	if g == nil {
		return nil
	}
	g.objects++
	return &Objects{group: g}
}

// Full reports that the life has no room for another kind or site.
func (l *Life) Full() bool { return len(l.groups) >= MaxGroups }

func (l *Life) group(kind leak.Kind, site string) *group {
	for _, g := range l.groups {
		if g.kind == kind && g.site == site {
			return g
		}
	}
	if l.Full() {
		return nil
	}
	g := &group{life: l, kind: kind, site: site}
	l.groups = append(l.groups, g)
	return g
}

// SetStart takes the creation time of the process where a metric says it. A
// later one means another process behind the same name.
func (l *Life) SetStart(start int64) {
	if l.start != 0 && start-l.start > startSlack {
		for _, g := range l.groups {
			for _, s := range g.series {
				s.restart()
			}
			g.touch()
		}
	}
	l.start = start
}

// descriptors is the series of all descriptors of the process, nil where there
// is none.
func (l *Life) descriptors() *Series {
	for _, s := range l.limited {
		if s.spec.Kind == leak.KindDescriptor && s.spec.Site == "" {
			return s
		}
	}
	return nil
}

// SetLimit takes the newest value of a limit.
func (l *Life) SetLimit(t int64, name string, value float64) Refusal {
	if math.IsNaN(value) || value <= 0 {
		return NotFinite
	}
	l.now = max(l.now, t)
	for i := range l.limits {
		if l.limits[i].name == name {
			l.limits[i].value = value
			return Accepted
		}
	}
	l.limits = append(l.limits, limit{name: name, value: value})
	return Accepted
}

// limit returns a limit that can be reached.
func (l *Life) limit(name string) (float64, bool) {
	for i := range l.limits {
		if l.limits[i].name == name {
			v := l.limits[i].value
			return v, v <= MaxValue
		}
	}
	return 0, false
}

func (g *group) touch() { g.touched, g.life.touched = true, true }

// evidence takes a sample that is no trend.
func (g *group) evidence(s *Series) {
	switch s.spec.Use {
	case UseIdle:
		if g.survival == nil {
			g.survival = &survival{}
		}
		g.survival.idle, g.survival.idleAt = s.value, s.last
	case UseProof:
		if g.proof == nil {
			g.proof = &proof{source: s.spec.Metric}
		}
		g.touch()
	}
}

// SetProcess takes a newer description of the same process.
func (l *Life) SetProcess(p *leak.Process) {
	l.Process = *p
	for _, f := range l.findings {
		f.Process = *p
	}
}

// SetProvenance says where the data of this life comes from.
func (l *Life) SetProvenance(p *leak.Provenance) {
	if l.Provenance == p {
		return
	}
	l.Provenance = p
	for _, f := range l.findings {
		f.Provenance = p
	}
}

// Forget gives back what a life that is dropped counted for.
func (e *Engine) Forget(l *Life) {
	for _, g := range l.groups {
		e.series -= len(g.series)
	}
}

// SeriesCount returns how many series are alive.
func (e *Engine) SeriesCount() int { return e.series }

// Block returns the shortest block in ns.
func (e *Engine) Block() int64 { return e.plan.base }
