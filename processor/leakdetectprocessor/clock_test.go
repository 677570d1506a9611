// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

// scan is a process with everything that has a time.
func scan(at time.Time, pid, i int) *batch {
	dead := make([]uint64, len(bounds)+1)
	dead[0] = uint64(100 * i)
	site := []string{leak.AttrObjectKind, "socket", leak.AttrSite, ":80"}
	return newBatch(at, pid).sum(leak.MetricSocketAbandoned, 5, leak.AttrSite, ":80").sum(leak.MetricThreadCount, 5).
		histogram(leak.MetricObjectLifetime, epoch, bounds, dead, site...).
		histogram(leak.MetricObjectAge, at, bounds, make([]uint64, len(bounds)+1), site...)
}

// Somebody else who names our host, with a clock that is ahead, ends nothing:
// neither of our own processes nor of those that came the same way.
func TestAClockAheadExpiresNobody(t *testing.T) {
	t.Parallel()
	for name, local := range map[string]bool{"local": true, "over the wire": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			st, p, sink := bareState(t)
			r := &rig{t: t, sink: sink}
			now := time.Now()
			st.now = func() time.Time { return now }
			ctx := t.Context()
			if local {
				ctx = asLocal(ctx)
			}
			send := func(md *batch) {
				st.consume(ctx, md.md, p)
				require.NoError(t, sink.ConsumeMetrics(ctx, md.md))
			}
			for i := range 5 {
				now = now.Add(10 * time.Second)
				send(scan(now, 10, i))
			}
			require.Equal(t, []leak.State{leak.StateConfirmed}, transitions(r.findings()))
			st.consume(t.Context(), scan(now.Add(50*time.Minute), 999, 0).md, p)
			for i := range 5 {
				now = now.Add(10 * time.Second)
				send(scan(now, 10, 5+i))
				st.consume(t.Context(), scan(now.Add(50*time.Minute), 999, 0).md, p)
				st.sweep(ctx)
			}
			all := r.findings()
			assert.Len(t, all, 5)
			assert.Empty(t, transitions(all))
		})
	}
}

// Our clock was ahead for some scans, then it was put right: the finding goes
// on, is an event once, and nothing is refused as late.
func TestOurClockIsPutRight(t *testing.T) {
	t.Parallel()
	st, p, sink := bareState(t)
	r := &rig{t: t, sink: sink, telemetry: nil}
	ctx := asLocal(t.Context())
	now := time.Now().Add(-time.Hour)
	st.now = func() time.Time { return now }
	n := 0
	send := func(pid int) {
		b := scan(now, pid, n)
		n++
		st.consume(ctx, b.md, p)
		require.NoError(t, sink.ConsumeMetrics(ctx, b.md))
	}
	for range 5 {
		now = now.Add(10 * time.Second)
		send(10)
	}
	now = now.Add(50 * time.Minute)
	for range 5 {
		now = now.Add(10 * time.Second)
		send(10)
	}
	before := r.findings()
	require.Equal(t, []leak.State{leak.StateConfirmed}, transitions(before))
	now = now.Add(-50 * time.Minute)
	for range 60 {
		now = now.Add(10 * time.Second)
		send(10)
		send(11) // started since
		st.sweep(ctx)
	}
	after := map[int32][]leak.Finding{}
	for _, f := range r.findings() {
		after[f.Process.PID] = append(after[f.Process.PID], f)
	}
	require.Len(t, after[10], 60, "seen in every scan")
	assert.Empty(t, transitions(after[10]))
	assert.Equal(t, before[0].ID, after[10][0].ID)
	assert.Equal(t, []leak.State{leak.StateConfirmed}, transitions(after[11]))
	for _, f := range after[10] {
		assert.True(t, f.Since.Before(f.Time))
		assert.False(t, f.Time.After(now))
	}
	assert.Zero(t, st.counts.refused[reasonFuture])
}

// The clock of another host goes back, from right to wrong: ours does not show
// it, but that all of its points are late does.
func TestAClockThatGoesBackIsFollowed(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	at := epoch
	for i := range 5 {
		at = at.Add(10 * time.Second)
		r.consume(scan(at, 10, i).md)
	}
	require.Equal(t, []leak.State{leak.StateConfirmed}, transitions(r.findings()))
	at = at.Add(-2 * time.Hour)
	for i := range 40 {
		at = at.Add(10 * time.Second)
		r.consume(scan(at, 10, 5+i).md)
	}
	all := r.findings()
	assert.Len(t, all, 31)
	assert.Empty(t, transitions(all))
	assert.EqualValues(t, 1, r.counted("lives", ""))
	// Nine of each series; the two histograms of a site count together.
	assert.EqualValues(t, 3*9, r.counted("points_refused", "late"))
}

// A sample that comes late changes nothing.
func TestLateSamplesAreNoClock(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 30 {
		r.consume(scan(epoch.Add(time.Duration(i)*10*time.Second), 10, i).md)
		r.consume(scan(epoch.Add(time.Duration(i)*10*time.Second-3*time.Second), 10, i).md)
	}
	assert.EqualValues(t, 30*4, r.counted("points_judged", ""))
	assert.EqualValues(t, 30*4, r.counted("points_refused", "late"))
}

// One point of a life that is ahead of time ends none of the life's series.
func TestAPointAheadEndsNoSeries(t *testing.T) {
	t.Parallel()
	st, p, sink := bareState(t)
	r := &rig{t: t, sink: sink}
	now := time.Now()
	st.now = func() time.Time { return now }
	send := func(md *batch) {
		st.consume(t.Context(), md.md, p)
		require.NoError(t, sink.ConsumeMetrics(t.Context(), md.md))
	}
	for i := range 5 {
		now = now.Add(10 * time.Second)
		send(scan(now, 10, i))
	}
	require.Equal(t, []leak.State{leak.StateConfirmed}, transitions(r.findings()))
	series := st.entries
	send(newBatch(now.Add(50*time.Minute), 10).sum(leak.MetricThreadCount, 5))
	st.sweep(t.Context())
	now = now.Add(10 * time.Second)
	send(newBatch(now, 10).sum(leak.MetricMemoryAnonymous, 5))
	st.sweep(t.Context())
	assert.GreaterOrEqual(t, st.entries, series)
	assert.Empty(t, transitions(r.findings()))
}
