// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

// fast is a time scale at which twelve hours are a minute.
func fast(c *Config) { c.TimeScale = 720 }

func TestTrendEndToEnd(t *testing.T) {
	t.Parallel()
	fix := &fakeRemediator{}
	r := newRig(t, fakeHost{remediatorID: fix}, func(c *Config) {
		fast(c)
		c.Remediation = &remediatorID
	})
	r.ctx = asLocal(r.ctx)
	for i := range 900 {
		at := epoch.Add(time.Duration(i) * 250 * time.Millisecond)
		r.consume(newBatch(at, 10).
			sum(leak.MetricDescriptorCount, float64(20+i)).sum(leak.MetricDescriptorLimit, 1<<20).
			sum(leak.MetricDescriptorBySite, float64(i), leak.AttrObjectKind, "file", leak.AttrSite, "/var/tmp").
			sum(leak.MetricThreadCount, 12).
			resource(11).sum(leak.MetricDescriptorCount, float64(100+i%7)).md)
	}
	all := r.findings()
	require.NotEmpty(t, all)
	states := transitions(all)
	assert.Equal(t, leak.StateConfirmed, states[len(states)-1])
	last := all[len(all)-1]
	for _, f := range all {
		assert.EqualValues(t, 10, f.Process.PID, "the healthy neighbour")
		assert.InDelta(t, 720, f.TimeScale, 0)
		if f.Role == leak.RolePrimary && f.State == leak.StateConfirmed {
			last = f
		}
	}
	assert.Equal(t, leak.BasisTrend, last.Basis)
	assert.Equal(t, leak.KindFile, last.Kind)
	assert.Equal(t, "/var/tmp", last.Site)
	assert.InDelta(t, 4, last.Growth, 0.5)
	assert.Greater(t, last.Evidence, 3.0)
	assert.WithinDuration(t, epoch, last.Onset, 10*time.Second)
	got := fix.proposals()
	require.NotEmpty(t, got)
	assert.Equal(t, provenance, got[0].Provenance)
	assert.NotEmpty(t, got[0].Process.InstanceID)
}

var bounds = []float64{0.1, 1, 10, 30, 60, 120, 300, 600, 1200, 3600}

// Old and idle sockets are likely leaked; it takes a mechanism, or a run
// longer than any normal fill, to confirm it.
func TestSurvivalEndToEnd(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		transport, state string
		want             leak.State
	}{
		"closed by the other end":    {"tcp", "close_wait", leak.StateConfirmed},
		"in no table of the kernel":  {"tcp", "unattached", leak.StateConfirmed},
		"in use":                     {"tcp", "established", leak.StateLikely},
		"not connected, as any UDP":  {"udp", "closed", leak.StateLikely},
		"of a transport nobody says": {"", "close_wait", leak.StateLikely},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			survivalEndToEnd(t, c.transport, c.state, c.want)
		})
	}
}

func survivalEndToEnd(t *testing.T, transport, state string, want leak.State) {
	t.Helper()
	r := newRig(t, nil, nil)
	r.ctx = asLocal(r.ctx)
	dead := make([]uint64, len(bounds)+1)
	site := []string{leak.AttrObjectKind, "socket", leak.AttrSite, ":8080"}
	for scan := range 200 {
		at := epoch.Add(time.Duration(scan) * 5 * time.Second)
		dead[0] += 250
		age := make([]uint64, len(bounds)+1)
		idle := 0.0
		for born := range scan + 1 {
			seconds := float64(scan-born) * 5
			i := 0
			for i < len(bounds) && seconds > bounds[i] {
				i++
			}
			age[i] += 50
			if seconds > 60 {
				idle += 50
			}
		}
		r.consume(newBatch(at, 10).
			histogram(leak.MetricObjectLifetime, epoch, bounds, dead, site...).
			histogram(leak.MetricObjectAge, at, bounds, age, site...).
			sum(leak.MetricSocketCount, float64(50*(scan+1)), leak.AttrSite, ":8080", leak.AttrTransport, transport, leak.AttrConnectionState, state).
			sum(leak.MetricDescriptorIdle, idle, site...).md)
	}
	all := r.findings()
	states := transitions(all)
	require.NotEmpty(t, states)
	assert.Equal(t, want, last(states))
	f := last(all)
	assert.Equal(t, leak.BasisSurvival, f.Basis)
	assert.Equal(t, ":8080", f.Site)
	assert.InDelta(t, 0.1, f.LifetimeP99, 1e-9)
	assert.Contains(t, f.Reason, "objects older than")
	assert.Equal(t, want == leak.StateConfirmed, strings.Contains(f.Reason, "can never be used again"), f.Reason)
}

func TestProofEndToEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, func(c *Config) { c.Proof.Hold = 0 })
	for i, v := range []float64{1, 4, 4, 5, 9, 2, 0, 0, 0} {
		r.consume(newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10).
			sum(leak.MetricSocketAbandoned, v, leak.AttrSite, "10.0.0.1:80").md)
	}
	all := r.findings()
	assert.Equal(t, []leak.State{leak.StateConfirmed, leak.StateResolved}, transitions(all))
	assert.Equal(t, leak.BasisProof, all[0].Basis)
	assert.Equal(t, leak.KindSocket, all[0].Kind)
	assert.Nil(t, all[0].Provenance)
}

func TestAtRiskEndToEnd(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	for i := range 40 {
		r.consume(newBatch(epoch.Add(time.Duration(i)*5*time.Second), 10).
			sum(leak.MetricDescriptorCount, float64(20+20*i)).sum(leak.MetricDescriptorLimit, 1024).md)
	}
	all := r.findings()
	require.Equal(t, []leak.State{leak.StateAtRisk}, transitions(all))
	f := all[len(all)-1]
	assert.Equal(t, leak.BasisLimit, f.Basis)
	assert.InDelta(t, 1024, f.Limit, 0)
	assert.Equal(t, "process", f.LimitScope)
	assert.InDelta(t, (1024-800.0)/4, f.TimeToExhaustion, 2)
}
