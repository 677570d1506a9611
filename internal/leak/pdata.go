// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"math"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Outcomes of a status point that closes.
const outcomeSuperseded = "superseded"

// AppendFindings writes findings of one resource as metrics: one metric per
// name, one point per finding. A finding that is clear writes nothing.
func AppendFindings(dst pmetric.MetricSlice, findings []Finding) {
	w := writer{dst: dst}
	for i := range findings {
		w.finding(&findings[i])
	}
}

// writer makes each metric when its first point comes.
type writer struct {
	dst                                            pmetric.MetricSlice
	status, evidence, objects, bytes, exhaustion   pmetric.NumberDataPointSlice
	hasStatus, hasEvid, hasObjs, hasBytes, hasExha bool
}

func (w *writer) finding(f *Finding) {
	switch {
	case f.State.Open():
		if f.Transition() && f.Previous.Open() && f.Previous != f.State {
			w.statusPoint(f, f.Previous, 0, outcomeSuperseded)
		}
		w.statusPoint(f, f.State, 1, "")
	case f.State.Closed():
		w.statusPoint(f, f.Previous, 0, string(f.State))
	default:
		return
	}
	closed := f.State.Closed()
	if closed || !math.IsNaN(f.Evidence) {
		w.gauge(&w.evidence, &w.hasEvid, MetricEvidence, "{log10}",
			"log10 of the e-value against the hypothesis that nothing leaks", f, f.Evidence, closed)
	}
	if f.Kind.Bytes() {
		if closed || !math.IsNaN(f.Growth) {
			w.gauge(&w.bytes, &w.hasBytes, MetricGrowthBytes, "By/s", "Robust slope of the troughs", f, f.Growth, closed)
		}
	} else if closed || !math.IsNaN(f.Growth) {
		w.gauge(&w.objects, &w.hasObjs, MetricGrowthObjects, "{object}/s", "Robust slope of the troughs", f, f.Growth, closed)
	}
	if !math.IsNaN(f.TimeToExhaustion) {
		w.gauge(&w.exhaustion, &w.hasExha, MetricTimeToExhaustion, "s",
			"Time until the limit is reached at the present growth", f, f.TimeToExhaustion, closed)
	}
}

func (w *writer) statusPoint(f *Finding, state State, value int64, outcome string) {
	if !w.hasStatus {
		m := w.dst.AppendEmpty()
		m.SetName(MetricStatus)
		m.SetUnit("{leak}")
		m.SetDescription("1 for the current state of a finding, one closing 0")
		sum := m.SetEmptySum()
		sum.SetIsMonotonic(false)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		w.status, w.hasStatus = sum.DataPoints(), true
	}
	dp := w.status.AppendEmpty()
	dp.SetIntValue(value)
	dp.SetStartTimestamp(pcommon.NewTimestampFromTime(f.Since))
	dp.SetTimestamp(pcommon.NewTimestampFromTime(f.Time))
	putIdentity(dp.Attributes(), f)
	dp.Attributes().PutStr(AttrLeakState, string(state))

	ex := dp.Exemplars().AppendEmpty()
	ex.SetTimestamp(pcommon.NewTimestampFromTime(f.Time))
	ex.SetIntValue(value)
	attrs := ex.FilteredAttributes()
	if outcome != "" {
		attrs.PutStr(AttrEvidenceOutcome, outcome)
	}
	if f.Previous != StateClear {
		attrs.PutStr(AttrEvidencePrevious, string(f.Previous))
	}
	if f.Reason != "" {
		attrs.PutStr(AttrEvidenceReason, f.Reason)
	}
	if !f.Onset.IsZero() {
		attrs.PutStr(AttrEvidenceOnset, f.Onset.UTC().Format(time.RFC3339Nano))
	}
	putKnown(attrs, AttrEvidenceValue, f.Value)
	putKnown(attrs, AttrEvidenceLimit, f.Limit)
	putKnown(attrs, AttrEvidenceLifetimeP99, f.LifetimeP99)
	if f.LimitScope != "" {
		attrs.PutStr(AttrEvidenceLimitScope, f.LimitScope)
	}
}

func (w *writer) gauge(points *pmetric.NumberDataPointSlice, has *bool, name, unit, description string, f *Finding, value float64, closed bool) {
	if !*has {
		m := w.dst.AppendEmpty()
		m.SetName(name)
		m.SetUnit(unit)
		m.SetDescription(description)
		*points, *has = m.SetEmptyGauge().DataPoints(), true
	}
	dp := points.AppendEmpty()
	dp.SetTimestamp(pcommon.NewTimestampFromTime(f.Time))
	putIdentity(dp.Attributes(), f)
	if closed {
		dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		return
	}
	dp.SetDoubleValue(value)
}

func putIdentity(attrs pcommon.Map, f *Finding) {
	attrs.EnsureCapacity(8)
	attrs.PutStr(AttrLeakID, f.ID)
	attrs.PutStr(AttrObjectKind, string(f.Kind))
	if f.Site != "" {
		attrs.PutStr(AttrSite, f.Site)
	}
	attrs.PutStr(AttrLeakSource, f.Source)
	attrs.PutStr(AttrLeakBasis, string(f.Basis))
	attrs.PutStr(AttrLeakRole, string(f.Role))
	if f.TimeScale != 1 {
		attrs.PutDouble(AttrLeakTimeScale, f.TimeScale)
	}
}

func putKnown(attrs pcommon.Map, key string, value float64) {
	if !math.IsNaN(value) {
		attrs.PutDouble(key, value)
	}
}

// HasFindings reports whether the metrics hold findings: such a stream was
// judged upstream, and is passed on without being judged again.
func HasFindings(metrics pmetric.MetricSlice) bool {
	for i := range metrics.Len() {
		if metrics.At(i).Name() == MetricStatus {
			return true
		}
	}
	return false
}

// ReadFindings reads the findings of one resource back. What is not a finding
// is passed over; what is incomplete (no id, unknown state) is left out and
// counted in malformed. A state that another superseded is not reported.
func ReadFindings(rm pmetric.ResourceMetrics) (findings []Finding, malformed int) {
	var process Process
	var byID map[string]int // made with the first status metric: most resources hold none
	for i := range rm.ScopeMetrics().Len() {
		metrics := rm.ScopeMetrics().At(i).Metrics()
		for j := range metrics.Len() {
			m := metrics.At(j)
			if m.Name() != MetricStatus || m.Type() != pmetric.MetricTypeSum {
				continue
			}
			if byID == nil {
				process, _ = ProcessFromResource(rm.Resource().Attributes())
				byID = map[string]int{}
			}
			points := m.Sum().DataPoints()
			for k := range points.Len() {
				f, use, ok := readStatus(points.At(k))
				if !ok {
					malformed++
				}
				if !ok || !use {
					continue
				}
				f.Process = process
				byID[f.ID] = len(findings)
				findings = append(findings, f)
			}
		}
	}
	if len(findings) == 0 {
		return nil, malformed
	}
	for i := range rm.ScopeMetrics().Len() {
		metrics := rm.ScopeMetrics().At(i).Metrics()
		for j := range metrics.Len() {
			readGauges(metrics.At(j), findings, byID)
		}
	}
	return findings, malformed
}

func readStatus(dp pmetric.NumberDataPoint) (f Finding, use, ok bool) {
	if dp.Flags().NoRecordedValue() {
		return f, false, true
	}
	f = NewFinding()
	attrs := dp.Attributes()
	f.ID = text(attrs, AttrLeakID)
	f.Kind = Kind(text(attrs, AttrObjectKind))
	f.Site = text(attrs, AttrSite)
	f.Source = text(attrs, AttrLeakSource)
	f.Basis = Basis(text(attrs, AttrLeakBasis))
	f.Role = Role(text(attrs, AttrLeakRole))
	f.State = State(text(attrs, AttrLeakState))
	f.TimeScale = number(attrs, AttrLeakTimeScale, 1)
	f.Since = dp.StartTimestamp().AsTime()
	f.Time = dp.Timestamp().AsTime()
	if f.ID == "" || !f.State.Open() {
		return f, false, false
	}
	var outcome string
	if dp.Exemplars().Len() > 0 {
		ev := dp.Exemplars().At(0).FilteredAttributes()
		outcome = text(ev, AttrEvidenceOutcome)
		f.Previous = State(text(ev, AttrEvidencePrevious))
		f.Reason = text(ev, AttrEvidenceReason)
		f.LimitScope = text(ev, AttrEvidenceLimitScope)
		nan := math.NaN()
		f.Value = number(ev, AttrEvidenceValue, nan)
		f.Limit = number(ev, AttrEvidenceLimit, nan)
		f.LifetimeP99 = number(ev, AttrEvidenceLifetimeP99, nan)
		if t, err := time.Parse(time.RFC3339Nano, text(ev, AttrEvidenceOnset)); err == nil {
			f.Onset = t
		}
	}
	if dp.IntValue() != 0 || dp.DoubleValue() != 0 { // each accessor gives 0 for the other type
		return f, true, true
	}
	if outcome == outcomeSuperseded {
		return f, false, true
	}
	f.Previous = f.State
	f.State = StateResolved
	if outcome == string(StateRetracted) {
		f.State = StateRetracted
	}
	return f, true, true
}

func readGauges(m pmetric.Metric, findings []Finding, byID map[string]int) {
	if m.Type() != pmetric.MetricTypeGauge {
		return
	}
	var set func(*Finding, float64)
	switch m.Name() {
	case MetricEvidence:
		set = func(f *Finding, v float64) { f.Evidence = v }
	case MetricGrowthObjects, MetricGrowthBytes:
		set = func(f *Finding, v float64) { f.Growth = v }
	case MetricTimeToExhaustion:
		set = func(f *Finding, v float64) { f.TimeToExhaustion = v }
	default:
		return
	}
	points := m.Gauge().DataPoints()
	for k := range points.Len() {
		dp := points.At(k)
		if dp.Flags().NoRecordedValue() {
			continue
		}
		if at, ok := byID[text(dp.Attributes(), AttrLeakID)]; ok {
			set(&findings[at], dp.DoubleValue())
		}
	}
}

func text(attrs pcommon.Map, key string) string {
	if v, ok := attrs.Get(key); ok && v.Type() == pcommon.ValueTypeStr {
		return v.Str()
	}
	return ""
}

func number(attrs pcommon.Map, key string, missing float64) float64 {
	v, ok := attrs.Get(key)
	if !ok {
		return missing
	}
	switch v.Type() {
	case pcommon.ValueTypeDouble:
		return v.Double()
	case pcommon.ValueTypeInt:
		return float64(v.Int())
	default:
		return missing
	}
}
