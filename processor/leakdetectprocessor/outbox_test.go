// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/otel-memguard/memguard/internal/leak"
)

// pidsOf are the processes whose end was sent to a pipeline, which is emptied.
func pidsOf(t *testing.T, sink *consumertest.MetricsSink) (pids []int32) {
	t.Helper()
	for _, f := range (&rig{t: t, sink: sink}).findings() {
		if f.Transition() && f.State == leak.StateResolved {
			pids = append(pids, f.Process.PID)
		}
	}
	return pids
}

// Each pipeline hears of the end of what it sent, whether time goes on by the
// data of another or not at all.
func TestEachPipelineGetsItsOwnEnds(t *testing.T) {
	t.Parallel()
	for _, way := range []string{"event time, own batch", "event time, sweep", "event time, shutdown", "our clock"} {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			st, first, a := bareState(t)
			b, c := &consumertest.MetricsSink{}, &consumertest.MetricsSink{}
			second, third := &leakProcessor{state: st, next: b}, &leakProcessor{state: st, next: c}
			second.started.Store(true)
			third.started.Store(true)
			for i := range 3 {
				at := epoch.Add(time.Duration(i) * 10 * time.Second)
				for pid, p := range map[int]*leakProcessor{10: first, 20: second, 21: second} {
					st.consume(t.Context(), newBatch(at, pid).sum(leak.MetricSocketAbandoned, 5, leak.AttrSite, ":80").md, p)
				}
			}
			if way != "our clock" {
				for i := range 40 {
					md := newBatch(epoch.Add(time.Minute+time.Duration(i)*10*time.Second), 30).sum(leak.MetricThreadCount, 5).md
					st.consume(t.Context(), md, third)
					require.NoError(t, c.ConsumeMetrics(t.Context(), md))
				}
			}
			switch way {
			case "event time, own batch":
				for p, sink := range map[*leakProcessor]*consumertest.MetricsSink{first: a, second: b} {
					md := newBatch(epoch.Add(10*time.Minute), 40).sum(leak.MetricThreadCount, 5).md
					st.consume(t.Context(), md, p)
					require.NoError(t, sink.ConsumeMetrics(t.Context(), md))
				}
			case "event time, shutdown":
				for _, p := range []*leakProcessor{first, second, third} {
					st.flush(t.Context(), p)
				}
			case "our clock":
				now := time.Now().Add(time.Hour)
				st.now = func() time.Time { return now }
			}
			st.sweep(t.Context())
			assert.Equal(t, []int32{10}, pidsOf(t, a))
			assert.ElementsMatch(t, []int32{20, 21}, pidsOf(t, b))
			assert.Empty(t, pidsOf(t, c))
		})
	}
}

// A process ended while no collector ran: its end goes by the pipeline that
// there is, though that never saw it.
func TestTheEndOfARestoredLifeIsSent(t *testing.T) {
	t.Parallel()
	disk := &memoryStorage{}
	host, change := stored(disk)
	r := newRig(t, host, change)
	for i := range 3 {
		r.consume(abandoned(i, 5).md)
	}
	r.stop()
	st, p, sink := bareState(t)
	st.cfg.Storage = &storageID
	require.NoError(t, st.openStorage(t.Context(), fakeHost{storageID: disk}))
	st.adoptPipeline(p)
	now := time.Now().Add(time.Hour)
	st.now = func() time.Time { return now }
	st.sweep(t.Context())
	assert.Equal(t, []int32{10}, pidsOf(t, sink))
}

// The bound on series bounds lives and hosts, too.
func TestMaxSeriesBoundsLives(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, func(c *Config) { c.MaxSeries = 10 })
	for pid := 1; pid <= 500; pid++ {
		b := newBatch(epoch, pid).sum(leak.MetricThreadCount, 4).sum(leak.MetricMemoryUsage, 4)
		if pid%2 == 0 {
			b.rm.Resource().Attributes().PutStr(leak.AttrHostID, "host-"+strconv.Itoa(pid))
		}
		r.consume(b.md)
	}
	assert.EqualValues(t, 10, r.counted("series", ""))
	assert.LessOrEqual(t, r.counted("lives", ""), int64(10))
	assert.EqualValues(t, 1000-10, r.counted("series_refused", "max_series"))
	assert.Zero(t, r.counted("series_refused", "attributes"))
	assert.Len(t, r.sink.AllMetrics(), 500, "passed on all the same")
}

// More lives than the bound, now that it was lowered, are not restored.
func TestMaxSeriesBoundsRestoredLives(t *testing.T) {
	t.Parallel()
	disk := &memoryStorage{}
	host, change := stored(disk)
	r := newRig(t, host, change)
	for pid := range 20 {
		r.consume(newBatch(epoch, 10+pid).sum(leak.MetricThreadCount, 4).md)
	}
	r.stop()
	host, change = stored(disk, func(c *Config) { c.MaxSeries = 5 })
	r = newRig(t, host, change)
	assert.EqualValues(t, 5, r.counted("lives", ""))
}
