// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/otel-memguard/memguard/internal/leak"
)

// counted reads a counter of our own telemetry, by reason where it has one.
func (r *rig) counted(name, reason string) int64 {
	r.t.Helper()
	m, err := r.telemetry.GetMetric("otelcol_leak_detect_" + name)
	if err != nil {
		return 0
	}
	var points []metricdata.DataPoint[int64]
	switch d := m.Data.(type) {
	case metricdata.Sum[int64]:
		points = d.DataPoints
	case metricdata.Gauge[int64]:
		points = d.DataPoints
	}
	for _, dp := range points {
		if v, _ := dp.Attributes.Value("reason"); v.AsString() == reason {
			return dp.Value
		}
	}
	return 0
}

func TestBadPointsAreCountedAndPassed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	gauge := func(at time.Time, v float64) *batch {
		b := newBatch(at, 10)
		m := b.ms.AppendEmpty()
		m.SetName(leak.MetricThreadCount)
		dp := m.SetEmptyGauge().DataPoints().AppendEmpty()
		dp.SetTimestamp(pcommon.NewTimestampFromTime(at))
		dp.SetDoubleValue(v)
		return b
	}
	last := func(b *batch) pmetric.Metric { return b.ms.At(b.ms.Len() - 1) }
	send := map[string]*batch{
		"not_finite":   gauge(epoch, math.NaN()),
		"negative":     gauge(epoch, -3),
		"too_large":    gauge(epoch, 1e300),
		"future":       gauge(time.Now().Add(48*time.Hour), 3),
		"no_timestamp": gauge(time.Unix(0, 0), 3),
	}
	send["monotonic"] = newBatch(epoch, 10).sum(leak.MetricThreadCount, 4)
	last(send["monotonic"]).Sum().SetIsMonotonic(true)
	send["delta"] = newBatch(epoch, 10).sum(leak.MetricThreadCount, 4)
	last(send["delta"]).Sum().SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	send["wrong_type"] = newBatch(epoch, 10)
	m := send["wrong_type"].ms.AppendEmpty()
	m.SetName(leak.MetricThreadCount)
	m.SetEmptySummary()
	send["bucket_bounds"] = newBatch(epoch, 10).histogram(leak.MetricObjectAge, epoch, []float64{3, 2, 1}, []uint64{0, 0, 0, 0})
	for reason, b := range send {
		before := b.md.DataPointCount()
		r.consume(b.md)
		assert.EqualValues(t, 1, r.counted("points_refused", reason), reason)
		assert.Equal(t, before, r.sink.AllMetrics()[0].DataPointCount(), "passed on unchanged")
		r.sink.Reset()
	}
	r.consume(gauge(epoch, 3).md)
	r.consume(gauge(epoch, 3).md)
	r.consume(gauge(epoch.Add(-time.Second), 3).md)
	assert.EqualValues(t, 1, r.counted("points_refused", "duplicate"))
	assert.EqualValues(t, 1, r.counted("points_refused", "late"))
	assert.EqualValues(t, 1, r.counted("points_judged", ""))
}

func TestTooManyAttributesAndEmptyNames(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	var many []string
	for i := range 10_000 {
		many = append(many, fmt.Sprint("key", i), "v")
	}
	r.consume(newBatch(epoch, 10).sum(leak.MetricThreadCount, 4, many...).sum("", 4).
		sum(leak.MetricThreadCount, 4, "long", strings.Repeat("x", maxValueBytes+1)).md)
	b := newBatch(epoch, 10).sum(leak.MetricThreadCount, 4)
	put(b.rm.Resource().Attributes(), many)
	r.consume(b.md)
	assert.EqualValues(t, 3, r.counted("series_refused", "attributes"))
	assert.EqualValues(t, 0, r.counted("series", ""))
	r.consume(pmetric.NewMetrics())
}

func TestMaxSeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, func(c *Config) { c.MaxSeries = 3 })
	for pid := range 5 {
		r.consume(newBatch(epoch, 10+pid).sum(leak.MetricThreadCount, 4).md)
	}
	assert.EqualValues(t, 3, r.counted("series", ""))
	assert.EqualValues(t, 2, r.counted("series_refused", "max_series"))
}

func TestUpstreamFindingsArePassedUnjudged(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 6 {
		b := abandoned(i, 50)
		f := leak.NewFinding()
		f.ID, f.State, f.Since, f.Time = "up", leak.StateLikely, epoch, b.at
		leak.AppendFindings(b.rm.ScopeMetrics().AppendEmpty().Metrics(), []leak.Finding{f})
		r.consume(b.md)
	}
	for _, f := range r.findings() {
		assert.Equal(t, "up", f.ID)
	}
	assert.EqualValues(t, 6, r.counted("resources_passed", ""))
	assert.EqualValues(t, 0, r.counted("lives", ""))
}

func TestSiteOtherIsNotJudged(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 6 {
		r.consume(newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10).sum(leak.MetricSocketAbandoned, 99, leak.AttrSite, leak.SiteOther).md)
	}
	assert.Empty(t, r.findings())
}

// A process ends: its host's clock moves on without it.
func TestGoneByEventTime(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 3 {
		r.consume(abandoned(i, 5).md)
	}
	r.findings()
	for i := range 40 {
		r.consume(newBatch(epoch.Add(time.Duration(30+10*i)*time.Second), 11).sum(leak.MetricThreadCount, 4).md)
	}
	all := r.findings()
	require.Equal(t, []leak.State{leak.StateResolved}, transitions(all))
	assert.EqualValues(t, 10, all[0].Process.PID)
	assert.Contains(t, all[0].Reason, "no longer reported")
	assert.EqualValues(t, 1, r.counted("lives", ""))
}

// The whole host falls silent: our clock ends its findings, later.
func TestGoneByTimer(t *testing.T) {
	t.Parallel()
	st, p, sink := bareState(t)
	for i := range 3 {
		st.consume(t.Context(), abandoned(i, 5).md, p)
	}
	clock := time.Now()
	st.now = func() time.Time { return clock }
	clock = clock.Add(10 * time.Minute)
	st.sweep(t.Context())
	assert.Empty(t, sink.AllMetrics(), "four times max_stale, since the way may have broken")
	clock = clock.Add(11 * time.Minute)
	st.sweep(t.Context())
	require.Len(t, sink.AllMetrics(), 1)
	f, _ := leak.ReadFindings(sink.AllMetrics()[0].ResourceMetrics().At(0))
	require.Len(t, f, 1)
	assert.Equal(t, leak.StateResolved, f[0].State)
	st.sweep(t.Context())
	assert.Len(t, sink.AllMetrics(), 1)
	assert.Empty(t, st.tables.byKey[0])
	assert.Empty(t, st.tables.byHash[0])
	assert.Empty(t, st.tables.hosts[0])
}

// bareState is a started state without goroutines, for tests that own time.
func bareState(t *testing.T) (*state, *leakProcessor, *consumertest.MetricsSink) {
	t.Helper()
	r := &rig{t: t, factory: NewFactory(), telemetry: componenttest.NewTelemetry()}
	set := settings(r)
	st, err := newState(set, r.factory.CreateDefaultConfig().(*Config))
	require.NoError(t, err)
	sink := &consumertest.MetricsSink{}
	p := &leakProcessor{state: st, next: sink}
	p.started.Store(true)
	t.Cleanup(func() { assert.NoError(t, r.telemetry.Shutdown(context.Background())) })
	return st, p, sink
}

// One host's clock is a day ahead within bounds of ours: it ages nobody else.
func TestSkewedHostExpiresNobody(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 3 {
		r.consume(abandoned(i, 5).md)
	}
	r.findings()
	b := newBatch(time.Now().Add(30*time.Minute), 11).sum(leak.MetricThreadCount, 4)
	b.rm.Resource().Attributes().PutStr(leak.AttrHostID, "skewed")
	r.consume(b.md)
	r.consume(abandoned(3, 5).md)
	all := r.findings()
	require.Len(t, all, 1)
	assert.Equal(t, leak.StateConfirmed, all[0].State)
}

// Two pipelines with one id share one state; the last shutdown ends it.
func TestPipelinesShareState(t *testing.T) {
	t.Parallel()
	r := &rig{t: t, factory: NewFactory(), telemetry: componenttest.NewTelemetry(), sink: &consumertest.MetricsSink{}, ctx: t.Context()}
	cfg := r.factory.CreateDefaultConfig().(*Config)
	other := &consumertest.MetricsSink{}
	a, b := r.create(cfg, r.sink), r.create(cfg, other)
	require.NoError(t, a.Start(t.Context(), fakeHost{}))
	require.NoError(t, b.Start(t.Context(), fakeHost{}))
	require.NoError(t, a.ConsumeMetrics(t.Context(), abandoned(0, 5).md))
	require.NoError(t, b.ConsumeMetrics(t.Context(), abandoned(1, 5).md))
	require.NoError(t, a.ConsumeMetrics(t.Context(), abandoned(2, 5).md))
	assert.Equal(t, []leak.State{leak.StateConfirmed}, transitions(r.findings()))
	require.NoError(t, b.ConsumeMetrics(t.Context(), abandoned(2, 5).md)) // the same points again
	require.NoError(t, a.Shutdown(t.Context()))
	require.NoError(t, b.ConsumeMetrics(t.Context(), abandoned(3, 5).md))
	r.sink = other
	all := r.findings()
	require.Len(t, all, 1)
	assert.Empty(t, transitions(all))
	require.NoError(t, b.Shutdown(t.Context()))
	require.NoError(t, b.Shutdown(t.Context()))
	require.NoError(t, r.telemetry.Shutdown(t.Context()))
}

// A scrape names no process: judged all the same, by its resource.
func TestPrometheusScrapeIsJudged(t *testing.T) {
	t.Parallel()
	fix := &fakeRemediator{}
	r := newRig(t, fakeHost{remediatorID: fix}, func(c *Config) {
		fast(c)
		c.Remediation = &remediatorID
	})
	r.ctx = asLocal(r.ctx) // even then: it is not of this host
	for i := range 700 {
		md := pmetric.NewMetrics()
		rm := md.ResourceMetrics().AppendEmpty()
		put(rm.Resource().Attributes(), []string{leak.AttrServiceName, "shop", leak.AttrServiceInstanceID, "10.0.0.7:9090"})
		ms := rm.ScopeMetrics().AppendEmpty().Metrics()
		for name, v := range map[string]float64{"go_goroutines": float64(10 + i), "process_start_time_seconds": 1.7e9, "process_max_fds": 1024, "process_open_fds": 30} {
			m := ms.AppendEmpty()
			m.SetName(name)
			dp := m.SetEmptyGauge().DataPoints().AppendEmpty()
			dp.SetTimestamp(pcommon.NewTimestampFromTime(epoch.Add(time.Duration(i) * 250 * time.Millisecond)))
			dp.SetDoubleValue(v)
		}
		r.consume(md)
	}
	states := transitions(r.findings())
	require.NotEmpty(t, states)
	assert.Equal(t, leak.StateConfirmed, states[len(states)-1])
	assert.Empty(t, fix.proposals())
}

// A new start time is a new life behind the same series.
func TestNewStartTimeBeginsAnew(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, fast)
	send := func(i int, start time.Time) {
		b := newBatch(epoch.Add(time.Duration(i)*250*time.Millisecond), 10).sum(leak.MetricThreadCount, float64(20+i))
		b.ms.At(0).Sum().DataPoints().At(0).SetStartTimestamp(pcommon.NewTimestampFromTime(start))
		r.consume(b.md)
	}
	for i := range 700 {
		send(i, epoch.Add(-time.Hour))
	}
	require.Equal(t, leak.StateConfirmed, last(transitions(r.findings())))
	send(700, epoch.Add(175*time.Second))
	all := r.findings()
	require.Equal(t, []leak.State{leak.StateResolved}, transitions(all))
	assert.Contains(t, all[0].Reason, "started anew")
	send(701, epoch.Add(175*time.Second))
	assert.Empty(t, r.findings())
}

func last[T any](list []T) T { return list[len(list)-1] }

func TestEndOfASeries(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 3 {
		r.consume(abandoned(i, 5).md)
	}
	r.findings()
	b := abandoned(3, 0)
	b.ms.At(0).Sum().DataPoints().At(0).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	r.consume(b.md)
	assert.Equal(t, []leak.State{leak.StateResolved}, transitions(r.findings()))
}
