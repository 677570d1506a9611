// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/leak"
)

// conclude judges the lives that a batch touched and appends what is found to
// the resource it is about.
func (s *state) conclude(md pmetric.Metrics) {
	for _, l := range s.touched {
		if l.Rewound() {
			l.rewind()
		}
		if s.engine.Judge(l.Life) {
			s.transitions = append(s.transitions, l)
		}
		if !l.HasFindings() {
			continue
		}
		rm := md.ResourceMetrics().At(l.at)
		if !l.kept {
			l.resource, l.kept = pcommon.NewMap(), true
			rm.Resource().Attributes().CopyTo(l.resource)
		}
		s.emit(l, rm)
	}
}

// emit appends the findings of l to rm, and notes them for the remediator.
func (s *state) emit(l *life, rm pmetric.ResourceMetrics) {
	s.found = l.Findings(s.found[:0], s.cfg.EmitSuspected)
	if len(s.found) == 0 {
		return
	}
	if l.local && s.remediator != nil {
		s.proposals = append(s.proposals, s.found...)
	}
	scope := rm.ScopeMetrics().AppendEmpty()
	scope.Scope().SetName(leak.ScopeDetector)
	scope.Scope().SetVersion(s.version)
	leak.AppendFindings(scope.Metrics(), s.found)
	if !l.HasFindings() {
		l.resource, l.kept = pcommon.Map{}, false
	}
}

// emitGone notes the closing points of a life that sent nothing itself for
// the pipeline that last saw it.
func (s *state) emitGone(l *life) {
	if !l.kept {
		return
	}
	rm := pmetric.NewResourceMetrics()
	l.resource.CopyTo(rm.Resource().Attributes())
	s.emit(l, rm)
	if rm.ScopeMetrics().Len() > 0 {
		rm.MoveTo(s.ended.of(l.sink).ResourceMetrics().AppendEmpty())
	}
}

// propose hands findings to the remediator, which never blocks.
func (s *state) propose(ctx context.Context, findings []leak.Finding) {
	for i := range findings {
		s.telemetry.LeakDetectProposals.Add(ctx, 1)
		if !s.remediator.Propose(findings[i]) {
			s.telemetry.LeakDetectProposalsRefused.Add(ctx, 1)
		}
	}
}

// expireByEvent lets lives expire as their host's event time goes on, so that
// replayed data behaves as live data did.
func (s *state) expireByEvent(now time.Time) {
	for _, l := range s.touched {
		if h := l.host; h.watermark-h.swept >= int64(s.cfg.MaxStale)/4 {
			s.expire(h, now)
		}
	}
}

// expire ends the lives and series of a host that fell silent. A life is gone
// when its host's clock moved on without it; a host that is silent itself gets
// four times as long, by our clock, since then it may be the way to it that
// broke.
func (s *state) expire(h *host, now time.Time) {
	h.swept = h.watermark
	stale := int64(s.cfg.MaxStale)
	for l := range h.lives {
		silent := h.watermark-l.Now() > stale
		lost := now.Sub(l.seen) > 4*s.cfg.MaxStale
		if !silent && !lost {
			s.expireSeries(l, stale)
			continue
		}
		if l.Gone(h.watermark, "the process ended or is no longer reported") {
			s.emitGone(l)
		}
		s.forget(l)
		s.entries -= len(l.entries)
		if s.client != nil && l.saved != 0 {
			s.gone = append(s.gone, l)
		}
	}
}

// expireSeries drops series that stopped in a life that goes on. Sites are
// read in turns, so they get longer.
func (s *state) expireSeries(l *life, stale int64) {
	now := min(l.Now(), s.horizon) // one point ahead of time ends no series
	if s.engine.DropUnseen(l.Life, now-4*stale) {
		s.transitions = append(s.transitions, l)
	}
	for hash, e := range l.entries {
		if now-e.last <= 4*stale {
			continue
		}
		switch {
		case e.refused:
		case e.series != nil:
			if s.engine.Drop(e.series, "the series ended") {
				s.transitions = append(s.transitions, l)
			}
		case e.objects != nil:
			s.engine.DropObjects(e.objects)
		}
		delete(l.entries, hash)
		s.entries--
	}
}
