// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

const origin = int64(1_700_000_000e9)

// outcome is when a series was first called likely and confirmed, in hours;
// NaN for never.
type outcome struct{ likely, confirmed float64 }

func newEngine(tb testing.TB, change ...func(*Config)) *Engine {
	tb.Helper()
	cfg := DefaultConfig()
	for _, c := range change {
		c(&cfg)
	}
	e, err := New(&cfg)
	require.NoError(tb, err)
	return e
}

func judgeSource(tb testing.TB, next source, days float64) outcome {
	tb.Helper()
	e := newEngine(tb)
	l := NewLife("test", &leak.Process{}, nil, 0)
	s := l.Series(e, &Spec{Metric: "test.count", Kind: leak.KindMemory})
	out := outcome{math.NaN(), math.NaN()}
	var buf []leak.Finding
	for i := range int(days * famDay) {
		t := origin + int64(float64(i)*famStep*1e9)
		s.Observe(e, 0, t, max(0, next()))
		if !l.touched || !e.Judge(l) {
			continue
		}
		buf = l.Findings(buf[:0], true)
		for j := range buf {
			h := float64(i) * famStep / 3600
			if buf[j].State == leak.StateLikely && math.IsNaN(out.likely) {
				out.likely = h
			}
			if buf[j].State == leak.StateConfirmed && math.IsNaN(out.confirmed) {
				out.confirmed = h
				return out
			}
		}
	}
	return out
}

// TestFamilies measures the trend test. MEMGUARD_FAMILIES=N runs N series of
// seven days per family and prints the table of docs/decisions/0006.
func TestFamilies(t *testing.T) {
	n := 4
	if v, err := strconv.Atoi(os.Getenv("MEMGUARD_FAMILIES")); err == nil {
		n = v
	}
	for fi, f := range families() {
		results := make([]outcome, n)
		var wg sync.WaitGroup
		for w := range 2 {
			wg.Go(func() {
				for i := w; i < n; i += 2 {
					results[i] = judgeSource(t, f.make(rand.New(rand.NewPCG(uint64(fi), uint64(i)))), 7)
				}
			})
		}
		wg.Wait()
		likely, confirmed := column(results, func(o outcome) float64 { return o.likely }), column(results, func(o outcome) float64 { return o.confirmed })
		t.Logf("%-34s likely %5.1f %% median %5.1f h   confirmed %5.1f %% median %5.1f h", f.name,
			likely.percent, likely.median, confirmed.percent, confirmed.median)
		if !f.leak && !f.beyond {
			assert.Zero(t, confirmed.percent, f.name)
		}
	}
}

type figures struct{ percent, median float64 }

func column(all []outcome, of func(outcome) float64) figures {
	var hits []float64
	for _, o := range all {
		if v := of(o); !math.IsNaN(v) {
			hits = append(hits, v)
		}
	}
	out := figures{percent: 100 * float64(len(hits)) / float64(len(all)), median: math.NaN()}
	if len(hits) > 0 {
		slices.Sort(hits)
		out.median = hits[len(hits)/2]
	}
	return out
}

func BenchmarkObserve(b *testing.B) {
	e := newEngine(b)
	l := NewLife("bench", &leak.Process{}, nil, 0)
	s := l.Series(e, &Spec{Metric: "x", Kind: leak.KindMemory})
	r := rand.New(rand.NewPCG(1, 2))
	var values [4096]float64
	for i := range values {
		values[i] = 1000 + 50*r.Float64()
	}
	b.ReportAllocs()
	t := origin
	for i := 0; b.Loop(); i++ {
		t += famStep * 1e9
		s.Observe(e, 0, t, values[i%len(values)]+float64(i)*1e-4)
	}
}

func ExampleConfig_Validate() {
	cfg := DefaultConfig()
	cfg.TimeScale = -1
	fmt.Println(cfg.Validate())
	// Output: time_scale: -1 must be between 0.001 and 100000
}

// sampling plays a leak that begins at onset hours, seen at an interval with
// a share of samples missing and two hours of silence. It returns the hours
// from the onset to confirmed.
func sampling(tb testing.TB, seed uint64, perHour, onset, interval, missing float64) (delay, saidOnset float64) {
	tb.Helper()
	e := newEngine(tb)
	l := NewLife("test", &leak.Process{}, nil, origin-3600e9)
	s := l.Series(e, &Spec{Metric: "test.count", Kind: leak.KindFile})
	r := rand.New(rand.NewPCG(99, seed))
	saw := sawtooth(r, 50)
	for t := 0.0; t < (onset+96)*3600; t += famStep {
		v := 100 + saw() + 2*r.NormFloat64() + max(0, perHour*(t/3600-onset))
		if math.Mod(t, interval) != 0 {
			continue
		}
		hole := t > (onset+3)*3600 && t < (onset+5)*3600
		if hole || r.Float64() < missing {
			continue
		}
		s.Observe(e, 0, origin+int64((t+interval/4*r.Float64())*1e9), v)
		if !e.Judge(l) {
			continue
		}
		for _, f := range l.Findings(nil, true) {
			if f.State == leak.StateConfirmed {
				assert.InDelta(tb, perHour/3600, f.Growth, perHour/3600/3)
				return t/3600 - onset, float64(f.Onset.UnixNano()-origin)/3600e9 - onset
			}
		}
	}
	return math.NaN(), math.NaN()
}

// Irregular, missing and slow samples cost delay, not the finding; and the
// delay counts from the onset, whatever the age of the process.
func TestTrendUnderBadSampling(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ onset, interval, missing float64 }{
		"every 10 s":                     {0, 10, 0},
		"every minute":                   {0, 60, 0},
		"every minute, a quarter gone":   {0, 60, 0.25},
		"on the fifth day, every minute": {100, 60, 0.05},
		"after a month, every 5 min":     {720, 300, 0.05},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(3) {
				delay, onset := sampling(t, seed, 50, c.onset, c.interval, c.missing)
				t.Logf("confirmed %.1f h after the onset, which it puts at %+.1f h", delay, onset)
				assert.Less(t, delay, 48.0)
			}
		})
	}
}
