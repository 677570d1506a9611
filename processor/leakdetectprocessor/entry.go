// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-memguard/memguard/internal/detect"
	"github.com/otel-memguard/memguard/internal/leak"
)

// entry finds the series of a point, made if need be and there is room. Nil
// means that the point is refused.
func (r *reading) entry(attrs pcommon.Map, base uint64, name string, rule *rule) *entry {
	s := r.state
	if oversized(attrs, maxPointAttributes) {
		s.counts.tooMany++
		return nil
	}
	l := r.find()
	switch {
	case r.full:
		s.counts.full++
		return nil
	case l == nil:
		s.counts.tooMany++
		return nil
	}
	hash := mix(base, s.hash.attributes(attrs))
	e, ok := l.entries[hash]
	switch {
	case !ok && s.entries >= s.cfg.MaxSeries:
		s.counts.full++
		return nil
	case !ok:
		s.entries++
	case !e.crowded():
		return e
	case l.Full():
		s.counts.sites++
		return e
	}
	e = l.newEntry(s, attrs, name, rule)
	if e.crowded() {
		s.counts.sites++
	}
	l.entries[hash] = e
	return e
}

// crowded reports a series that found no room among the sites of its life. It
// is asked again when there is some.
func (e *entry) crowded() bool { return e.refused && !e.silent }

func (l *life) newEntry(s *state, attrs pcommon.Map, name string, rule *rule) *entry {
	e := &entry{rule: rule}
	if rule.use == useLimit || rule.use == useStart {
		return e
	}
	kind, site := kindOf(rule, attrs), leak.CleanSite(siteOf(rule, attrs))
	if site == leak.SiteOther {
		e.refused, e.silent = true, true
		return e
	}
	switch rule.use {
	case useLifetime, useAge:
		e.objects = l.Objects(kind, site)
		e.refused = e.objects == nil
	default:
		spec := &detect.Spec{
			ID: stableID(name, attrs), Metric: rule.metric, Kind: kind, Site: site,
			Limit: rule.limit, Scope: rule.scope, Use: map[use]detect.Use{useIdle: detect.UseIdle, useProof: detect.UseProof}[rule.use],
			Stuck: rule.states && neverAgain(attrs),
		}
		e.series = l.Series(s.engine, spec)
		e.refused = e.series == nil
	}
	return e
}

// neverAgain reports a count of TCP sockets that no byte can pass any more:
// the other end has closed them, or the kernel has, and only the descriptor
// is left.
func neverAgain(attrs pcommon.Map) bool {
	if text(attrs, leak.AttrTransport) != "tcp" {
		return false
	}
	switch text(attrs, leak.AttrConnectionState) {
	case "close_wait", "closed", "unattached":
		return true
	}
	return false
}

func (l *life) drop(s *state, e *entry) {
	if e.series == nil {
		return
	}
	if s.engine.Drop(e.series, "the series ended") {
		l.dirty = true
		s.transitions = append(s.transitions, l)
	}
	e.refused, e.silent = true, true // until it is forgotten as stale
}
