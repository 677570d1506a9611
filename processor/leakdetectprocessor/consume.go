// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/detect"
	"github.com/otel-memguard/memguard/internal/leak"
)

// maxAhead is how far a point may be ahead of our clock: one skewed source
// must not age all the others.
const maxAhead = time.Hour

// consume judges a batch and appends its findings, in this order: samples,
// conclusions, storage, remediator, stream. A transition is on disk before
// the batch is handed on, so that a restart makes no event twice.
func (s *state) consume(ctx context.Context, md pmetric.Metrics, from *leakProcessor) {
	done := s.judge(md, leak.ProvenanceFromContext(ctx), from)
	done.counts.flush(ctx, s)
	if done.changed {
		s.save(ctx, s.urgent)
	}
	s.propose(ctx, done.proposals)
}

// outcome is what is left to do for a batch when the lock is given back.
type outcome struct {
	counts    counts
	proposals []leak.Finding
	changed   bool // there is something to save
}

// judge does what needs the lock. Whatever happens in it, the lock is given
// back: other pipelines must go on.
func (s *state) judge(md pmetric.Metrics, provenance *leak.Provenance, from *leakProcessor) outcome {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.observe(md, provenance, from, now)
	s.conclude(md)
	s.expireByEvent(now)
	s.ended.take(from, md)
	s.latest = from
	done := outcome{counts: s.counts, proposals: s.proposals, changed: len(s.transitions)+len(s.gone) > 0}
	s.counts, s.proposals = counts{}, nil
	return done
}

func (s *state) observe(md pmetric.Metrics, provenance *leak.Provenance, from *leakProcessor, now time.Time) {
	s.batch++
	s.touched = s.touched[:0]
	limit := now.Add(maxAhead).UnixNano()
	s.setHorizon(now)
	resources := md.ResourceMetrics()
	for i := range resources.Len() {
		rm := resources.At(i)
		if judged(rm) {
			s.counts.passed++
			continue
		}
		r := reading{state: s, at: i, from: from, now: now, limit: limit, provenance: provenance, resource: rm.Resource().Attributes()}
		scopes := rm.ScopeMetrics()
		for j := range scopes.Len() {
			metrics := scopes.At(j).Metrics()
			for k := range metrics.Len() {
				if m := metrics.At(k); m.Name() != "" {
					if rule := s.watch.find(m.Name()); rule != nil {
						r.metric(m, rule)
					}
				}
			}
		}
	}
}

// judged reports a resource that an upstream detector has judged.
func judged(rm pmetric.ResourceMetrics) bool {
	scopes := rm.ScopeMetrics()
	for i := range scopes.Len() {
		if leak.HasFindings(scopes.At(i).Metrics()) {
			return true
		}
	}
	return false
}

// reading is the way through one resource.
type reading struct {
	state      *state
	provenance *leak.Provenance
	from       *leakProcessor
	resource   pcommon.Map
	life       *life
	now        time.Time
	limit      int64
	at         int
	looked     bool
	full       bool // there was no room for the life
}

// find looks the life up, once and only if there is something to judge.
func (r *reading) find() *life {
	if r.looked {
		return r.life
	}
	r.looked = true
	s := r.state
	if oversized(r.resource, maxResourceAttributes) {
		return nil
	}
	local := trusted(r.provenance, r.resource)
	var provenance *leak.Provenance
	if local {
		provenance = r.provenance
	}
	l := s.life(r.resource, s.hash.attributes(r.resource), local, provenance)
	if l == nil {
		r.full = true
		return nil
	}
	l.SetProvenance(provenance)
	l.seen, l.host.seen, l.sink = r.now, r.now, r.from
	if l.batch != s.batch {
		l.batch = s.batch
		s.touched = append(s.touched, l)
	}
	l.at = r.at
	r.life = l
	return l
}

func (r *reading) metric(m pmetric.Metric, rule *rule) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		r.numbers(m.Gauge().DataPoints(), m.Name(), rule)
	case pmetric.MetricTypeSum:
		sum := m.Sum()
		switch {
		case sum.IsMonotonic() && rule.use != useStart:
			r.state.counts.refuse(reasonMonotonic, sum.DataPoints().Len())
		case sum.AggregationTemporality() != pmetric.AggregationTemporalityCumulative:
			r.state.counts.refuse(reasonDelta, sum.DataPoints().Len())
		default:
			r.numbers(sum.DataPoints(), m.Name(), rule)
		}
	case pmetric.MetricTypeHistogram:
		h := m.Histogram()
		switch {
		case rule.use != useLifetime && rule.use != useAge:
			r.state.counts.refuse(reasonType, h.DataPoints().Len())
		case h.AggregationTemporality() != pmetric.AggregationTemporalityCumulative:
			r.state.counts.refuse(reasonDelta, h.DataPoints().Len())
		default:
			r.histograms(h.DataPoints(), m.Name(), rule)
		}
	default:
		r.state.counts.refuse(reasonType, 1)
	}
}

func (r *reading) numbers(points pmetric.NumberDataPointSlice, name string, rule *rule) {
	s := r.state
	if rule.use == useLifetime || rule.use == useAge {
		s.counts.refuse(reasonType, points.Len())
		return
	}
	base := s.hash.name(name)
	for i := range points.Len() {
		dp := points.At(i)
		e := r.entry(dp.Attributes(), base, name, rule)
		t := int64(dp.Timestamp())
		if !r.usable(e, t) {
			continue
		}
		if dp.Flags().NoRecordedValue() {
			r.life.drop(s, e)
			continue
		}
		v := dp.DoubleValue()
		if dp.ValueType() == pmetric.NumberDataPointValueTypeInt {
			v = float64(dp.IntValue())
		}
		s.counts.result(r.number(e, rule, dp.StartTimestamp(), t, v))
		r.moved(e, t)
	}
}

func (r *reading) number(e *entry, rule *rule, start pcommon.Timestamp, t int64, v float64) detect.Refusal {
	switch rule.use {
	case useLimit:
		return r.life.SetLimit(t, rule.metric, v)
	case useStart:
		if v > 0 && v < 1e10 {
			r.life.SetStart(int64(v * 1e9))
			return detect.Accepted
		}
		return detect.TooLarge
	default:
		return e.series.Observe(r.state.engine, int64(start), t, v)
	}
}

func (r *reading) histograms(points pmetric.HistogramDataPointSlice, name string, rule *rule) {
	s := r.state
	base := s.hash.name(name)
	for i := range points.Len() {
		dp := points.At(i)
		e := r.entry(dp.Attributes(), base, name, rule)
		t := int64(dp.Timestamp())
		if !r.usable(e, t) || dp.Flags().NoRecordedValue() {
			continue
		}
		bounds, counts := s.copyHistogram(dp)
		if rule.use == useLifetime {
			s.counts.result(e.objects.Lifetimes(s.engine, int64(dp.StartTimestamp()), t, bounds, counts))
		} else {
			s.counts.result(e.objects.Ages(s.engine, t, bounds, counts))
		}
		r.moved(e, t)
	}
}

// usable reports a point that is to be judged. One that found no room still
// shows that time goes on, so that what is stale makes room for it.
func (r *reading) usable(e *entry, t int64) bool {
	if e == nil || e.silent || !r.instant(t) {
		return false
	}
	if e.refused {
		r.life.Tick(min(t, r.state.horizon))
		r.moved(e, t)
	}
	return !e.refused
}

func (r *reading) instant(t int64) bool {
	switch {
	case t <= 0:
		r.state.counts.refuse(reasonNoTime, 1)
	case t > r.limit:
		r.state.counts.refuse(reasonFuture, 1)
	default:
		return true
	}
	return false
}

func (r *reading) moved(e *entry, t int64) {
	e.last = max(e.last, t)
	r.life.host.advance(t, r.state.horizon)
}

func (s *state) copyHistogram(dp pmetric.HistogramDataPoint) ([]float64, []uint64) {
	s.bounds, s.bucket = s.bounds[:0], s.bucket[:0]
	for i := range min(dp.ExplicitBounds().Len(), 64) {
		s.bounds = append(s.bounds, dp.ExplicitBounds().At(i))
	}
	for i := range min(dp.BucketCounts().Len(), 65) {
		s.bucket = append(s.bucket, dp.BucketCounts().At(i))
	}
	return s.bounds, s.bucket
}
