// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-memguard/memguard/internal/leak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestObserveRefuses(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	l := NewLife("test", &leak.Process{}, nil, 0)
	s := l.Series(e, &Spec{Metric: "x", Kind: leak.KindFile})
	require.Equal(t, Accepted, s.Observe(e, 0, origin, 5))
	for want, v := range map[Refusal]float64{
		NotFinite: math.NaN(), Negative: -1, TooLarge: 1e19,
	} {
		assert.Equal(t, want, s.Observe(e, 0, origin+1, v), v)
	}
	assert.Equal(t, NotFinite, s.Observe(e, 0, origin+1, math.Inf(1)))
	assert.Equal(t, Duplicate, s.Observe(e, 0, origin, 6))
	assert.Equal(t, Late, s.Observe(e, 0, origin-1, 6))
	v, at := s.Value()
	assert.InDelta(t, 5, v, 0)
	assert.Equal(t, origin, at)
}

func TestStateOfASeriesFitsInAKilobyte(t *testing.T) {
	t.Parallel()
	size := unsafe.Sizeof(trend{}) + unsafe.Sizeof(Series{})
	t.Logf("trend %d + series %d = %d bytes", unsafe.Sizeof(trend{}), unsafe.Sizeof(Series{}), size)
	assert.LessOrEqual(t, size, uintptr(1024))
}

func TestProof(t *testing.T) {
	t.Parallel()
	cfg := DefaultConfig()
	cfg.Proof.Hold = 0
	e, err := New(&cfg)
	require.NoError(t, err)
	l := NewLife("test", &leak.Process{}, nil, 0)
	s := l.Series(e, &Spec{Metric: leak.MetricSocketAbandoned, Kind: leak.KindSocket, Site: ":80", Use: UseProof})
	var states []leak.State
	for i, v := range []float64{0, 3, 2, 3, 4, 5, 6, 1, 0, 0, 0} {
		s.Observe(e, 0, origin+int64(i)*10e9, v)
		e.Judge(l)
		for _, f := range l.Findings(nil, true) {
			states = append(states, f.State)
			assert.Equal(t, leak.BasisProof, f.Basis)
			assert.Equal(t, leak.RolePrimary, f.Role)
		}
	}
	assert.Equal(t, []leak.State{leak.StateConfirmed, leak.StateConfirmed, leak.StateConfirmed, leak.StateConfirmed, leak.StateResolved}, states)
	assert.False(t, l.HasFindings())
}

func TestAtRisk(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	l := NewLife("test", &leak.Process{}, nil, 0)
	s := l.Series(e, &Spec{Metric: leak.MetricDescriptorCount, Kind: leak.KindDescriptor, Limit: leak.MetricDescriptorLimit, Scope: "process"})
	l.SetLimit(origin, leak.MetricDescriptorLimit, 1024)
	var raised, cleared float64
	for i := range 200 {
		v := min(800, 20+50*float64(i)) // ten a second at 5 s
		s.Observe(e, 0, origin+int64(i)*5e9, v)
		e.Judge(l)
		for _, f := range l.Findings(nil, true) {
			switch {
			case f.State == leak.StateAtRisk && raised == 0:
				raised = v
				assert.Equal(t, leak.BasisLimit, f.Basis)
				assert.InDelta(t, 1024, f.Limit, 0)
				assert.Less(t, f.TimeToExhaustion, 3600.0)
			case f.State == leak.StateResolved:
				cleared = float64(i)
			}
		}
	}
	t.Logf("raised at %.0f of 1024, cleared after %.0f s", raised, cleared*5)
	assert.Positive(t, raised)
	assert.Less(t, raised, 0.6*1024)
	assert.Positive(t, cleared)
}

// A socket leak moves the count of descriptors too: one incident.
func TestIncidentHasOnePrimary(t *testing.T) {
	t.Parallel()
	e := newEngine(t, func(c *Config) { c.TimeScale = 720 })
	l := NewLife("test", &leak.Process{}, nil, 0)
	total := l.Series(e, &Spec{Metric: leak.MetricDescriptorCount, Kind: leak.KindDescriptor})
	site := l.Series(e, &Spec{Metric: leak.MetricDescriptorBySite, Kind: leak.KindSocket, Site: ":80"})
	memory := l.Series(e, &Spec{Metric: leak.MetricMemoryUsage, Kind: leak.KindMemory})
	primaries := map[leak.Kind]int{}
	for i := range 1200 {
		at := origin + int64(i)*1e8
		total.Observe(e, 0, at, float64(i)+20)
		site.Observe(e, 0, at, float64(i))
		memory.Observe(e, 0, at, float64(i)*4096)
		e.Judge(l)
		for _, f := range l.Findings(nil, true) {
			if f.Transition() && f.Role == leak.RolePrimary && f.State == leak.StateConfirmed {
				primaries[f.Kind]++
			}
		}
	}
	assert.Equal(t, map[leak.Kind]int{leak.KindSocket: 1}, primaries)
	confirmed := 0
	l.Open(func(f *leak.Finding) {
		assert.Equal(t, leak.StateConfirmed, f.State)
		confirmed++
	})
	assert.Equal(t, 3, confirmed)
	assert.True(t, l.Gone(origin+int64(1e12), "the process ended"))
	closed := l.Findings(nil, false)
	require.Len(t, closed, 3)
	assert.Equal(t, leak.StateResolved, closed[0].State)
	assert.False(t, l.HasFindings())
}
