// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakeventconnector

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/connector/connectortest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otel-memguard/memguard/connector/leakeventconnector/internal/metadata"
	"github.com/otel-memguard/memguard/connector/leakeventconnector/internal/metadatatest"
	"github.com/otel-memguard/memguard/internal/leak"
)

var at = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

// socketLeak is a confirmed leak of sockets at the moment of its transition.
func socketLeak() leak.Finding {
	f := leak.NewFinding()
	f.ID, f.Kind, f.Site = "f1", leak.KindSocket, "10.0.0.5:8080"
	f.Source, f.Basis, f.Role = leak.MetricSocketAbandoned, leak.BasisProof, leak.RolePrimary
	f.State, f.Previous, f.Since, f.Time, f.Onset = leak.StateConfirmed, leak.StateLikely, at, at, at.Add(-time.Hour)
	f.Growth, f.Value, f.Limit, f.LimitScope = 0.5, 812, 1024, "process"
	f.TimeToExhaustion, f.Reason = 424, "40 sockets in close_wait whose peer is gone"
	return f
}

func metricsOf(findings ...leak.Finding) pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr(leak.AttrProcessExecutableName, "proxy")
	rm.Resource().Attributes().PutInt(leak.AttrProcessPID, 4711)
	leak.AppendFindings(rm.ScopeMetrics().AppendEmpty().Metrics(), findings)
	return md
}

// emit runs md through a connector made from the settings in yaml.
func emit(t *testing.T, yaml map[string]any, mds ...pmetric.Metrics) []plog.LogRecord {
	t.Helper()
	cfg := createDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(yaml).Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))
	sink := &consumertest.LogsSink{}
	conn, err := NewFactory().CreateMetricsToLogs(t.Context(), connectortest.NewNopSettings(metadata.Type), cfg, sink)
	require.NoError(t, err)
	require.NoError(t, conn.Start(t.Context(), componenttest.NewNopHost()))
	for _, md := range mds {
		md.MarkReadOnly()
		require.NoError(t, conn.ConsumeMetrics(t.Context(), md))
	}
	require.NoError(t, conn.Shutdown(context.Background()))
	var records []plog.LogRecord
	for _, logs := range sink.AllLogs() {
		for i := range logs.ResourceLogs().Len() {
			slice := logs.ResourceLogs().At(i).ScopeLogs().At(0).LogRecords()
			for j := range slice.Len() {
				records = append(records, slice.At(j))
			}
		}
	}
	return records
}

func TestConfirmedLeakIsAnEvent(t *testing.T) {
	t.Parallel()
	f := socketLeak()
	records := emit(t, nil, metricsOf(f))
	require.Len(t, records, 1)
	lr := records[0]
	assert.Equal(t, "memguard.leak.confirmed", lr.EventName())
	assert.Equal(t, at, lr.Timestamp().AsTime())
	assert.Equal(t, plog.SeverityNumberFatal, lr.SeverityNumber())
	assert.Empty(t, lr.SeverityText())
	attrs := lr.Attributes().AsRaw()
	assert.Equal(t, "10.0.0.5", attrs["network.peer.address"])
	assert.Equal(t, int64(8080), attrs["network.peer.port"])
	assert.Equal(t, "likely", attrs[leak.AttrEvidencePrevious])
	assert.Equal(t, eventID(&f), attrs[leak.AttrEventID])
	assert.Equal(t, "proxy (pid 4711): sockets at 10.0.0.5:8080 are leaking, confirmed by proof. Growth 30 a minute since 2026-11-23 02:00:00 UTC. "+
		"Now 812. Limit of the process 1024, reached in about 7 min. Why: 40 sockets in close_wait whose peer is gone. "+
		"Next: look where this program talks to 10.0.0.5:8080: a response body that is not read and closed, or a connection that is not closed when the peer hangs up.",
		lr.Body().Str())
}

func TestWhichSightsMakeEvents(t *testing.T) {
	t.Parallel()
	with := func(change func(*leak.Finding)) leak.Finding {
		f := socketLeak()
		change(&f)
		return f
	}
	tests := map[string]struct {
		yaml    map[string]any
		finding leak.Finding
		want    []string
	}{
		"transition":                  {finding: socketLeak(), want: []string{"memguard.leak.confirmed"}},
		"seen before":                 {finding: with(func(f *leak.Finding) { f.Time = at.Add(10 * time.Second) })},
		"seen before, within max_age": {yaml: map[string]any{"max_age": "30s"}, finding: with(func(f *leak.Finding) { f.Time = at.Add(10 * time.Second) }), want: []string{"memguard.leak.confirmed"}},
		"older than max_age":          {yaml: map[string]any{"max_age": "30s"}, finding: with(func(f *leak.Finding) { f.Time = at.Add(31 * time.Second) })},
		"from the future":             {yaml: map[string]any{"max_age": "30s"}, finding: with(func(f *leak.Finding) { f.Time = at.Add(-time.Second) })},
		"corroborates":                {finding: with(func(f *leak.Finding) { f.Role = leak.RoleCorroborates })},
		"corroborates, on request":    {yaml: map[string]any{"corroborating": true}, finding: with(func(f *leak.Finding) { f.Role = leak.RoleCorroborates }), want: []string{"memguard.leak.confirmed"}},
		"suspected":                   {finding: with(func(f *leak.Finding) { f.State, f.Previous = leak.StateSuspected, leak.StateClear })},
		"suspected, on request":       {yaml: map[string]any{"suspected": true}, finding: with(func(f *leak.Finding) { f.State, f.Previous = leak.StateSuspected, leak.StateClear }), want: []string{"memguard.leak.suspected"}},
		"resolved":                    {finding: with(func(f *leak.Finding) { f.State, f.Previous = leak.StateResolved, leak.StateConfirmed }), want: []string{"memguard.leak.resolved"}},
		"retracted":                   {finding: with(func(f *leak.Finding) { f.State, f.Previous = leak.StateRetracted, leak.StateConfirmed }), want: []string{"memguard.leak.retracted"}},
		"suspicion that passed":       {finding: with(func(f *leak.Finding) { f.State, f.Previous = leak.StateResolved, leak.StateSuspected })},
		"at risk": {finding: with(func(f *leak.Finding) {
			f.State, f.Previous, f.Basis = leak.StateAtRisk, leak.StateClear, leak.BasisLimit
		}), want: []string{"memguard.leak.at_risk"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, lr := range emit(t, tt.yaml, metricsOf(tt.finding)) {
				got = append(got, lr.EventName())
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestSeverityFollowsTheTimeLeft(t *testing.T) {
	t.Parallel()
	f := socketLeak()
	for left, want := range map[float64]plog.SeverityNumber{
		60: plog.SeverityNumberFatal, 7200: plog.SeverityNumberError, 200_000: plog.SeverityNumberWarn, math.Inf(1): plog.SeverityNumberWarn,
	} {
		f.TimeToExhaustion = left
		assert.Equal(t, want, severity(&f), "%v s left", left)
	}
	f.TimeToExhaustion = math.NaN()
	assert.Equal(t, plog.SeverityNumberWarn, severity(&f))
}

func TestEventNameAttribute(t *testing.T) {
	t.Parallel()
	records := emit(t, map[string]any{"event_name_attribute": "otel.event.name"}, metricsOf(socketLeak()))
	require.Len(t, records, 1)
	name, _ := records[0].Attributes().Get("otel.event.name")
	assert.Equal(t, "memguard.leak.confirmed", name.Str())
}

func TestEventIDTellsTransitionsApart(t *testing.T) {
	t.Parallel()
	f, later := socketLeak(), socketLeak()
	later.Since = at.Add(time.Hour)
	other := socketLeak()
	other.State = leak.StateResolved
	again := socketLeak()
	assert.Equal(t, eventID(&f), eventID(&again))
	assert.NotEqual(t, eventID(&f), eventID(&later))
	assert.NotEqual(t, eventID(&f), eventID(&other))
}

func TestConfigErrorNamesKeyAndValue(t *testing.T) {
	t.Parallel()
	err := (&Config{MaxAge: -time.Second}).Validate()
	require.ErrorContains(t, err, "`max_age`")
	require.ErrorContains(t, err, "-1s")
}

func TestMalformedPointsAreCounted(t *testing.T) {
	t.Parallel()
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	sink := &consumertest.LogsSink{}
	set := connector.Settings{ID: connectortest.NewNopSettings(metadata.Type).ID, TelemetrySettings: tel.NewTelemetrySettings()}
	conn, err := NewFactory().CreateMetricsToLogs(t.Context(), set, createDefaultConfig(), sink)
	require.NoError(t, err)
	md := metricsOf(socketLeak())
	points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints()
	points.AppendEmpty().SetIntValue(1) // no id, no state
	require.NoError(t, conn.ConsumeMetrics(t.Context(), md))
	require.NoError(t, conn.Shutdown(t.Context()))
	metadatatest.AssertEqualLeakEventMalformedPoints(t, tel, []metricdata.DataPoint[int64]{{Value: 1}}, metricdatatest.IgnoreTimestamp())
	metadatatest.AssertEqualLeakEventEvents(t, tel,
		[]metricdata.DataPoint[int64]{{Value: 1, Attributes: attribute.NewSet(attribute.String("state", "confirmed"))}},
		metricdatatest.IgnoreTimestamp())
	assert.Equal(t, 1, sink.LogRecordCount())
}

func TestRatesAreReadable(t *testing.T) {
	t.Parallel()
	f := socketLeak()
	for perSecond, want := range map[float64]string{
		0.99999: "1 a second", 1234: "1234 a second", 2.5: "2.5 a second", 0.5: "30 a minute", 50.0 / 3600: "50 an hour", 2.0 / 3600: "2 an hour",
		0.1 / 3600: "2.4 a day", 0: "0 a day", -3: "-3 a second",
	} {
		f.Growth = perSecond
		assert.Equal(t, want, rate(&f))
	}
	f.Kind, f.Growth = leak.KindMemory, 1e6
	assert.Equal(t, "3.35 GiB an hour", rate(&f))
}

func TestEveryKindHasABody(t *testing.T) {
	t.Parallel()
	for _, kind := range leak.Kinds() {
		for _, state := range []leak.State{leak.StateSuspected, leak.StateLikely, leak.StateConfirmed, leak.StateAtRisk, leak.StateResolved, leak.StateRetracted} {
			f := socketLeak()
			f.Kind, f.State, f.Site = kind, state, ""
			text := body(&f)
			assert.Contains(t, text, "Why: ")
			assert.Equal(t, state.Open(), strings.Contains(text, "Next: "), text)
		}
	}
}

func BenchmarkConsumeMetrics(b *testing.B) {
	quiet := pmetric.NewMetrics()
	for range 1000 {
		ms := quiet.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
		for _, name := range []string{leak.MetricDescriptorCount, leak.MetricMemoryUsage, leak.MetricThreadCount} {
			m := ms.AppendEmpty()
			m.SetName(name)
			m.SetEmptySum().DataPoints().AppendEmpty().SetIntValue(7)
		}
	}
	for name, md := range map[string]pmetric.Metrics{"1000 quiet processes": quiet, "one transition": metricsOf(socketLeak())} {
		b.Run(name, func(b *testing.B) {
			conn, err := NewFactory().CreateMetricsToLogs(b.Context(), connectortest.NewNopSettings(metadata.Type), createDefaultConfig(), consumertest.NewNop())
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				if err := conn.ConsumeMetrics(b.Context(), md); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
