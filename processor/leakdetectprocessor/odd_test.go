// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/leak"
)

// gauge appends a gauge of any value, as a Prometheus scrape has it.
func (b *batch) gauge(name string, v float64, attrs ...string) *batch {
	m := b.ms.AppendEmpty()
	m.SetName(name)
	dp := m.SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(pcommon.NewTimestampFromTime(b.at))
	dp.SetDoubleValue(v)
	put(dp.Attributes(), attrs)
	return b
}

// The first count of proven objects is none, while the site has other news:
// there is no proof yet to judge.
func TestProofBeforeItsFirstAcceptedPoint(t *testing.T) {
	t.Parallel()
	for name, v := range map[string]float64{"NaN": math.NaN(), "Inf": math.Inf(1), "negative": -1, "too large": 1e300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, nil)
			for i := range 3 {
				at := epoch.Add(time.Duration(i) * time.Second)
				r.consume(newBatch(at, 10).gauge(leak.MetricSocketAbandoned, v, leak.AttrSite, ":80").
					histogram(leak.MetricObjectAge, at, bounds, make([]uint64, len(bounds)+1), leak.AttrObjectKind, "socket", leak.AttrSite, ":80").md)
			}
			assert.EqualValues(t, 3, r.counted("points_judged", ""))
		})
	}
}

// A process is started anew while its site is judged.
func TestProofAfterARestart(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 12 {
		at := epoch.Add(time.Duration(i) * 10 * time.Second)
		start := epoch.Add(-time.Hour)
		if i >= 6 {
			start = epoch.Add(50 * time.Second)
		}
		b := newBatch(at, 10).gauge("process_start_time_seconds", float64(start.Unix())).
			histogram(leak.MetricObjectAge, at, bounds, make([]uint64, len(bounds)+1), leak.AttrObjectKind, "socket", leak.AttrSite, ":80")
		if i < 6 {
			b.gauge(leak.MetricSocketAbandoned, 5, leak.AttrSite, ":80")
		}
		r.consume(b.md)
	}
	assert.Equal(t, []leak.State{leak.StateConfirmed, leak.StateResolved}, transitions(r.findings()))
}

// Whatever breaks while the lock is held, other pipelines go on.
func TestAPanicLeavesNoLockHeld(t *testing.T) {
	t.Parallel()
	st, p, _ := bareState(t)
	clock := st.now
	for name, call := range map[string]func(){
		"consume": func() { st.consume(t.Context(), abandoned(0, 5).md, p) },
		"sweep":   func() { st.sweep(t.Context()) },
	} {
		st.now = clock
		st.consume(t.Context(), abandoned(0, 5).md, p)
		st.now = func() time.Time { panic("the clock broke") }
		assert.Panics(t, call, name)
		require.True(t, st.mu.TryLock(), name)
		st.mu.Unlock()
	}
}

// oddBatch turns four bytes into a batch that nobody means to send.
func oddBatch(op [4]byte) pmetric.Metrics {
	names := []string{
		leak.MetricSocketAbandoned, leak.MetricObjectAge, leak.MetricObjectLifetime, leak.MetricDescriptorIdle, leak.MetricSocketCount,
		leak.MetricDescriptorCount, leak.MetricDescriptorLimit, "process_start_time_seconds", leak.MetricThreadCount, leak.MetricDescriptorBySite,
	}
	values := []float64{0, 1, 5, 50, 1e6, math.NaN(), math.Inf(1), math.Inf(-1), -1, 1e300, float64(epoch.Unix()), float64(epoch.Unix() + 900)}
	steps := []time.Duration{0, 10 * time.Second, -10 * time.Second, time.Hour, -time.Hour, 5 * time.Hour, 7 * time.Hour, 20 * time.Hour}
	name, v := names[int(op[0])%len(names)], values[int(op[1])%len(values)]
	b := newBatch(epoch.Add(time.Duration(op[3])*time.Second+steps[int(op[2]&7)]), 10+int(op[2]>>3&1))
	site := []string{leak.AttrSite, string('a' + rune(op[2]>>4&3)), leak.AttrObjectKind, "socket", leak.AttrTransport, "tcp", leak.AttrConnectionState, "close_wait"}
	if name == leak.MetricObjectAge || name == leak.MetricObjectLifetime {
		counts := make([]uint64, len(bounds)+1-int(op[1]>>7))
		for i := range counts {
			counts[i] = uint64(op[1]) << (uint(op[1]>>4) + uint(i))
		}
		b.histogram(name, epoch, bounds, counts, site...)
		b.histogram(leak.MetricObjectAge, epoch, bounds, counts, site...)
	} else {
		b.gauge(name, v, site...)
	}
	if op[2]&0x40 != 0 {
		b.gauge(leak.MetricThreadCount, 5)
	}
	if op[2]&0x80 != 0 {
		m := b.ms.At(0)
		if m.Type() == pmetric.MetricTypeGauge {
			m.Gauge().DataPoints().At(0).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		}
	}
	return b.md
}

// Points in an order and of values that no source sends may be refused, but
// nothing breaks, and what is held stays within its bounds.
func FuzzConsume(f *testing.F) {
	f.Add([]byte{0, 5, 1, 0, 1, 1, 1, 0, 7, 10, 1, 9, 0, 2, 1, 20, 0, 2, 1, 30, 7, 11, 1, 40, 1, 3, 1, 50})
	f.Add([]byte{1, 0x71, 1, 0, 2, 0x72, 1, 10, 3, 3, 1, 20, 4, 3, 0x81, 30, 0, 2, 6, 1, 0, 2, 1, 1, 0, 2, 1, 2, 0, 2, 1, 3})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := &rig{t: t, factory: NewFactory(), telemetry: componenttest.NewTelemetry()}
		cfg := r.factory.CreateDefaultConfig().(*Config)
		cfg.MaxSeries, cfg.TimeScale = 16, 60
		st, err := newState(settings(r), cfg)
		require.NoError(t, err)
		p := &leakProcessor{state: st, next: &consumertest.MetricsSink{}}
		for ; len(data) >= 4; data = data[4:] {
			st.consume(context.Background(), oddBatch([4]byte(data)), p)
		}
		st.sweep(context.Background())
		entries := 0
		for i := range st.tables.byKey {
			for _, l := range st.tables.byKey[i] {
				entries += len(l.entries)
				_, err := st.engine.Decode(st.engine.Encode(nil, l.Life))
				require.NoError(t, err)
			}
		}
		assert.Equal(t, entries, st.entries)
		assert.LessOrEqual(t, entries, cfg.MaxSeries)
		require.NoError(t, r.telemetry.Shutdown(context.Background()))
	})
}
