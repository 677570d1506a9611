// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

var objectBounds = []float64{0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400}

// population simulates the objects of one site at a scan interval.
type population struct {
	r      *rand.Rand
	born   []float64 // of the long-lived, s
	dies   []float64
	dead   []uint64
	now    float64
	idle   bool // long-lived objects are idle
	noIdle bool // no idle counts are reported
}

func newPopulation(seed uint64) *population {
	return &population{r: rand.New(rand.NewPCG(7, seed)), dead: make([]uint64, len(objectBounds)+1)}
}

func bucket(v float64) int {
	for i, b := range objectBounds {
		if v <= b {
			return i
		}
	}
	return len(objectBounds)
}

// closeShort records n objects that came and went within an interval.
func (p *population) closeShort(n, mean float64) {
	for range int(poisson(p.r, n)) {
		p.dead[bucket(p.r.ExpFloat64()*mean)]++
	}
}

func (p *population) open(n int, life func() float64) {
	for range n {
		p.born = append(p.born, p.now)
		p.dies = append(p.dies, p.now+life())
	}
}

func (p *population) scan(e *Engine, objects *Objects, idle *Series) {
	ages := make([]uint64, len(objectBounds)+1)
	keep, sleepers := 0, 0
	for i := range p.born {
		if p.dies[i] <= p.now {
			p.dead[bucket(p.dies[i]-p.born[i])]++
			continue
		}
		p.born[keep], p.dies[keep] = p.born[i], p.dies[i]
		keep++
		ages[bucket(p.now-p.born[i])]++
		if p.idle && p.now-p.born[i] > 60 {
			sleepers++
		}
	}
	p.born, p.dies = p.born[:keep], p.dies[:keep]
	t := origin + int64(p.now*1e9)
	objects.Lifetimes(e, origin, t, objectBounds, p.dead)
	objects.Ages(e, t, objectBounds, ages)
	if !p.noIdle {
		idle.Observe(e, 0, t, float64(sleepers))
	}
}

func forever() float64 { return math.Inf(1) }

// runPopulation plays seconds of event time; each is called before each scan.
// It returns the time and count at which the site was confirmed, or NaN.
func runPopulation(t *testing.T, p *population, interval, seconds float64, each func()) (at, count float64, state leak.State) {
	t.Helper()
	e := newEngine(t)
	l := NewLife("test", &leak.Process{}, nil, origin)
	objects := l.Objects(leak.KindSocket, ":80")
	idle := l.Series(e, &Spec{Metric: leak.MetricDescriptorIdle, Kind: leak.KindSocket, Site: ":80", Use: UseIdle})
	require.NotNil(t, objects)
	at, count = math.NaN(), math.NaN()
	for ; p.now < seconds; p.now += interval {
		each()
		p.scan(e, objects, idle)
		e.Judge(l)
		for _, f := range l.Findings(nil, true) {
			if f.State.Open() {
				state = f.State
			}
			if f.State == leak.StateConfirmed && math.IsNaN(at) {
				assert.Equal(t, leak.BasisSurvival, f.Basis)
				assert.Equal(t, leak.RolePrimary, f.Role)
				at, count = p.now, float64(len(p.born))
			}
		}
		if !math.IsNaN(at) {
			break
		}
	}
	return at, count, state
}

// Ten of sixty descriptors a second leak: confirmed before a tenth of 65,536.
func TestSurvivalFindsALeak(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		p := newPopulation(seed)
		p.idle = true
		at, count, _ := runPopulation(t, p, 5, 1800, func() {
			p.closeShort(250, 0.2)
			p.open(int(poisson(p.r, 50)), forever)
		})
		t.Logf("confirmed after %.0f s at %.0f of 65536 (%.1f %%)", at, count, count/655.36)
		assert.Less(t, count, 6553.6)
	}
}

func TestSurvivalFindsASlowLeak(t *testing.T) {
	t.Parallel()
	p := newPopulation(1)
	p.idle = true
	at, count, _ := runPopulation(t, p, 10, 6*3600, func() {
		p.closeShort(50, 0.2)
		p.open(int(poisson(p.r, 1.0/6)), forever) // one a minute
	})
	t.Logf("one a minute: confirmed after %.1f min at %.0f", at/60, count)
	assert.Less(t, at, 2*3600.0)
}

// Pools that fill with objects that are never closed. They are in use, so
// they are not idle; that their site closes little protects them as well.
func TestSurvivalSparesPools(t *testing.T) {
	t.Parallel()
	for name, noIdle := range map[string]bool{"idle known": false, "idle not known": true} {
		for seed := range uint64(60) {
			p := newPopulation(seed)
			p.noIdle = noIdle
			size := 200 + 600*p.r.Float64()
			fill := (2 + 28*p.r.Float64()) * 60
			churn := p.r.Float64() * 2
			opened := 0.0
			at, count, _ := runPopulation(t, p, 10, 3*3600, func() {
				p.closeShort(churn*10, 0.2)
				for ; opened < size*min(1, p.now/fill); opened++ {
					p.open(1, forever)
				}
			})
			assert.True(t, math.IsNaN(at), "%s, seed %d: confirmed after %.0f s at %.0f", name, seed, at, count)
		}
	}
}

// One request in a hundred is a websocket that lives an hour.
func TestSurvivalSparesLongTails(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		p := newPopulation(seed)
		p.idle = true // even where they are silent
		at, count, _ := runPopulation(t, p, 10, 6*3600, func() {
			p.closeShort(200, 0.01)
			p.open(int(poisson(p.r, 2)), func() float64 { return p.r.ExpFloat64() * 3600 })
		})
		assert.True(t, math.IsNaN(at), "seed %d: confirmed after %.0f s at %.0f", seed, at, count)
	}
}

// Whether a site that never closes anything leaks, ages cannot tell.
func TestSurvivalIsSilentWhereNothingCloses(t *testing.T) {
	t.Parallel()
	p := newPopulation(1)
	p.idle = true
	at, _, state := runPopulation(t, p, 10, 3*3600, func() { p.open(2, forever) })
	assert.True(t, math.IsNaN(at))
	assert.Equal(t, leak.StateClear, state)
}

// Objects that were idle and are used again make a pool, and it stays one.
func TestSurvivalLearnsAPool(t *testing.T) {
	t.Parallel()
	p := newPopulation(1)
	round := 0
	at, _, _ := runPopulation(t, p, 10, 3*3600, func() {
		round++
		p.idle = round%60 != 59 // every ten minutes all are used
		p.closeShort(100, 0.2)
		p.open(1, forever)
	})
	assert.True(t, math.IsNaN(at))
}

// A database keeps its data files open for days and closes the many that it
// merges: no leak, and there is no idle count for files.
func TestSurvivalSparesDataFiles(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		p := newPopulation(seed)
		p.noIdle = true
		at, count, state := runPopulation(t, p, 10, 10*3600, func() {
			p.closeShort(2, 20)
			if p.r.Float64() < 1.0/36 { // ten an hour stay
				p.open(1, forever)
			}
		})
		assert.True(t, math.IsNaN(at), "seed %d: confirmed after %.0f s at %.0f", seed, at, count)
		assert.NotEqual(t, leak.StateConfirmed, state)
	}
}

// Connections that a timeout closes after a minute and a half of idleness.
func TestSurvivalSparesIdleTimeouts(t *testing.T) {
	t.Parallel()
	for seed := range uint64(10) {
		p := newPopulation(seed)
		p.idle = true
		at, count, _ := runPopulation(t, p, 5, 3*3600, func() {
			p.closeShort(250, 0.2)
			p.open(int(poisson(p.r, 25)), func() float64 { return 75 + 15*p.r.Float64() })
		})
		assert.True(t, math.IsNaN(at), "seed %d: confirmed after %.0f s at %.0f", seed, at, count)
	}
}

// A backend hangs for twenty minutes, then everything that waited ends.
func TestSurvivalOfAHang(t *testing.T) {
	t.Parallel()
	confirmed := 0
	for seed := range uint64(10) {
		p := newPopulation(seed)
		p.idle = true
		at, _, _ := runPopulation(t, p, 5, 3*3600, func() {
			if p.now > 3600 && p.now < 4800 {
				p.open(int(poisson(p.r, 250)), func() float64 { return 4800 - p.now })
				return
			}
			p.closeShort(250, 0.2)
		})
		if !math.IsNaN(at) {
			confirmed++
		}
	}
	assert.Zero(t, confirmed, "nothing is closed in the hang, so there is nothing to compare with")
}
