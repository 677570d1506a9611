// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/leak"
)

// A scrape target climbs to its limit, crashes and is started anew: what was
// at risk is no more, and that is said.
func TestAtRiskEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	start := epoch.Add(-time.Hour)
	send := func(i int, open float64) {
		b := newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10)
		b.rm.Resource().Attributes().Clear()
		put(b.rm.Resource().Attributes(), []string{leak.AttrServiceName, "api", leak.AttrServiceInstanceID, "10.0.0.1:9090"})
		r.consume(b.gauge("process_start_time_seconds", float64(start.Unix())).gauge("process_max_fds", 1024).gauge("process_open_fds", open).md)
	}
	for i := range 60 {
		send(i, 300+float64(i)*10)
	}
	require.Equal(t, []leak.State{leak.StateAtRisk}, transitions(r.findings()))
	start = epoch.Add(600 * time.Second)
	for i := 61; i < 100; i++ {
		send(i, 20)
	}
	all := r.findings()
	require.Len(t, all, 1)
	assert.Equal(t, []leak.State{leak.StateResolved}, transitions(all))
	assert.Contains(t, all[0].Reason, "started anew")
	assert.True(t, all[0].Since.Equal(epoch.Add(610*time.Second)), "%v", all[0].Since)
	for i := 100; i < 160; i++ {
		send(i, 300+float64(i-100)*10)
	}
	assert.Equal(t, []leak.State{leak.StateAtRisk}, transitions(r.findings()), "and the new process is judged like any")
}

// A site ends while its process goes on: that is a change, with a time of its
// own, whichever way it is noticed.
func TestTheEndOfASiteIsAnEvent(t *testing.T) {
	t.Parallel()
	for name, silent := range map[string]bool{"no longer reported": true, "said to be gone": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, nil, nil)
			for i := range 400 {
				b := newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10).sum(leak.MetricThreadCount, 3)
				if i < 10 || !silent && i == 10 {
					b.sum(leak.MetricSocketAbandoned, 5, leak.AttrSite, ":80")
				}
				if i == 10 && !silent {
					b.ms.At(1).Sum().DataPoints().At(0).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
				}
				r.consume(b.md)
			}
			all := r.findings()
			assert.Equal(t, []leak.State{leak.StateConfirmed, leak.StateResolved}, transitions(all))
			assert.Equal(t, "the series ended", last(all).Reason)
		})
	}
}

// The process ends before the next batch could say that its site ended.
func TestTheEndOfASiteIsSaidWithTheEndOfTheProcess(t *testing.T) {
	t.Parallel()
	st, p, sink := bareState(t)
	r := &rig{t: t, sink: sink}
	for i := range 4 {
		b := abandoned(i, 5)
		if i == 3 {
			b.ms.At(0).Sum().DataPoints().At(0).SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		}
		st.consume(t.Context(), b.md, p)
		for _, l := range st.touched {
			require.Equal(t, i == 2, l.HasFindings())
		}
	}
	l := st.touched[0]
	for i := 4; i < 7; i++ {
		st.consume(t.Context(), newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10).sum(leak.MetricSocketAbandoned, 5, leak.AttrSite, "b").md, p)
	}
	require.True(t, l.HasFindings())
	for _, e := range l.entries {
		if e.series != nil && !e.silent {
			l.drop(st, e) // as expireSeries does, after the batch was judged
		}
	}
	now := time.Now().Add(time.Hour)
	st.now = func() time.Time { return now }
	st.sweep(t.Context())
	assert.Equal(t, []leak.State{leak.StateResolved}, transitions(r.findings()))
}
