// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"slices"

	"github.com/otel-memguard/memguard/internal/leak"
)

// Drop removes a series that stopped while its life goes on. It reports
// whether a finding ended with it.
func (e *Engine) Drop(s *Series, reason string) bool {
	ended := e.drop(s, reason)
	s.group.life.prune()
	return ended
}

func (e *Engine) drop(s *Series, reason string) bool {
	l, g := s.group.life, s.group
	g.series = remove(g.series, s)
	l.limited = remove(l.limited, s)
	e.series--
	ended := false
	if s.risk != nil {
		ended = s.risk.end(l.now, reason)
	}
	if f := g.finding; f != nil && f.State.Open() && f.Source == s.spec.Metric {
		f.close(leak.StateResolved, l.now, reason)
		ended = true
	}
	g.forget()
	return ended
}

// forget drops evidence of which the source is gone.
func (g *group) forget() {
	uses := func(use Use) bool {
		return slices.ContainsFunc(g.series, func(s *Series) bool { return s.spec.Use == use })
	}
	if g.proof != nil && !uses(UseProof) {
		g.proof = nil
		g.touch()
	}
	if g.survival != nil && g.survival.buckets == 0 && !uses(UseIdle) {
		g.survival = nil // it only knew the idle count
	}
}

// DropUnseen drops what was read from storage and did not come again before
// the given time. It reports whether a finding ended.
func (e *Engine) DropUnseen(l *Life, before int64) bool {
	ended := false
	for _, g := range l.groups {
		for _, s := range slices.Backward(g.series) {
			if s.restored && s.last < before {
				ended = e.drop(s, "the series ended") || ended
			}
		}
		if s := g.survival; s != nil && g.objects == 0 && max(s.deadAt, s.ageAt, s.idleAt) < before {
			g.survival = nil
			g.touch()
		}
	}
	l.prune()
	return ended
}

// DropObjects forgets the ages of a site that are no longer reported.
func (e *Engine) DropObjects(o *Objects) {
	o.group.objects--
	o.group.survival = nil
	o.group.touch()
	o.group.life.prune()
}

// prune gives back the room of kinds and sites of which nothing is left: their
// series are gone, and their findings were sent.
func (l *Life) prune() {
	keep := l.groups[:0]
	for _, g := range l.groups {
		if len(g.series) > 0 || g.objects > 0 || g.survival != nil || g.proof != nil || l.mentions(g) {
			keep = append(keep, g)
		}
	}
	clear(l.groups[len(keep):])
	l.groups = keep
}

func (l *Life) mentions(g *group) bool {
	return slices.ContainsFunc(l.findings, func(f *finding) bool { return f.group == g })
}

func remove(list []*Series, s *Series) []*Series {
	for i := range list {
		if list[i] == s {
			return append(list[:i], list[i+1:]...)
		}
	}
	return list
}
