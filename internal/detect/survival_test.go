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
	idle   bool           // long-lived objects are idle
	noIdle bool           // no idle counts are reported
	stuck  func() float64 // objects that can never be used again; nil: not reported

	likely, likelyCount float64 // when the site was first called likely, and at how many
}

func newPopulation(seed uint64) *population {
	return &population{r: rand.New(rand.NewPCG(7, seed)), dead: make([]uint64, len(objectBounds)+1), likely: math.NaN(), likelyCount: math.NaN()}
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
	stuck := l.Series(e, &Spec{Metric: leak.MetricSocketCount, Kind: leak.KindSocket, Site: ":80", Stuck: true})
	require.NotNil(t, objects)
	at, count = math.NaN(), math.NaN()
	for ; p.now < seconds; p.now += interval {
		each()
		p.scan(e, objects, idle)
		if p.stuck != nil {
			stuck.Observe(e, 0, origin+int64(p.now*1e9), p.stuck())
		}
		e.Judge(l)
		for _, f := range l.Findings(nil, true) {
			if f.State.Open() {
				state = f.State
			}
			if f.Basis != leak.BasisSurvival {
				continue // the trend of the stuck ones may say so, too
			}
			if f.State == leak.StateLikely && math.IsNaN(p.likely) {
				p.likely, p.likelyCount = p.now, float64(len(p.born))
			}
			if f.State == leak.StateConfirmed && math.IsNaN(at) {
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

func (p *population) all() float64 { return float64(len(p.born)) }

// Ten of sixty descriptors a second leak. With a mechanism beside their age,
// they are confirmed before a tenth of 65,536; without one they are likely.
func TestSurvivalFindsALeak(t *testing.T) {
	t.Parallel()
	for seed := range uint64(5) {
		for _, mechanism := range []bool{true, false} {
			p := newPopulation(seed)
			p.idle = true
			p.stuck = func() float64 { return 3 }
			if mechanism {
				p.stuck = p.all
			}
			at, count, _ := runPopulation(t, p, 5, 1800, func() {
				p.closeShort(250, 0.2)
				p.open(int(poisson(p.r, 50)), forever)
			})
			t.Logf("mechanism %v: likely after %.0f s at %.0f of 65536 (%.1f %%), confirmed after %.0f s at %.0f (%.1f %%)", mechanism,
				p.likely, p.likelyCount, p.likelyCount/655.36, at, count, count/655.36)
			if mechanism {
				assert.Less(t, count, 6553.6)
				continue
			}
			assert.Less(t, p.likelyCount, 6553.6)
			assert.True(t, math.IsNaN(at), "confirmed after %.0f s", at)
		}
	}
}

// One a minute: with a mechanism in an hour, without one after max_fill_time.
func TestSurvivalFindsASlowLeak(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mechanism, noIdle bool
		from, to          float64
	}{
		"mechanism": {true, false, 0, 2}, "idle": {false, false, 12, 14}, "age alone": {false, true, 12, 14},
	} {
		p := newPopulation(1)
		p.idle, p.noIdle = true, c.noIdle
		if c.mechanism {
			p.stuck = p.all
		}
		at, count, _ := runPopulation(t, p, 10, 15*3600, func() {
			p.closeShort(50, 0.2)
			p.open(int(poisson(p.r, 1.0/6)), forever)
		})
		t.Logf("%s, one a minute: likely after %.1f min at %.0f, confirmed after %.1f min at %.0f", name, p.likely/60, p.likelyCount, at/60, count)
		assert.Less(t, p.likely, 2*3600.0)
		assert.Greater(t, at, c.from*3600)
		assert.Less(t, at, c.to*3600)
	}
}

// Fills that end by themselves, on a site that serves short requests as well:
// nothing in the ages and in the idleness tells them from a leak.
func TestSurvivalDoesNotConfirmFills(t *testing.T) {
	t.Parallel()
	fixed := func(seconds float64) func(*population) func() float64 {
		return func(*population) func() float64 { return func() float64 { return seconds } }
	}
	sessions := func(p *population) func() float64 { return func() float64 { return p.r.ExpFloat64() * 8 * 3600 } }
	for name, c := range map[string]struct {
		perMinute, minutes float64
		life               func(*population) func() float64
		beyond             bool // it goes on for longer than max_fill_time
	}{
		"pool, 10/min for 30 min":              {10, 30, fixed(math.Inf(1)), false},
		"pool, 5/min for 1 h":                  {5, 60, fixed(math.Inf(1)), false},
		"pool, 1/min for 3 h":                  {1, 180, fixed(math.Inf(1)), false},
		"logins, 2/min for 4 h, of a mean 8 h": {2, 240, sessions, false},
		"logins, 2/min all day, of a mean 8 h": {2, 16 * 60, sessions, true},
		"idle timeout of 350 s, load steps up": {20, 60, fixed(350), false},
		"idle timeout of 1 h, Envoy's default": {5, 180, fixed(3600), false},
		"idle timeout of 1 h, all day":         {5, 16 * 60, fixed(3600), false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			likely, confirmed := 0, 0
			for seed := range uint64(10) {
				p := newPopulation(seed)
				p.idle = true
				p.stuck = func() float64 { return poisson(p.r, 4) } // in passing
				at, count, _ := runPopulation(t, p, 30, 16*3600, func() {
					p.closeShort(50, 0.1)
					if p.now > 1800 && p.now < 1800+c.minutes*60 {
						p.open(int(poisson(p.r, c.perMinute/2)), c.life(p))
					}
				})
				if !math.IsNaN(p.likely) {
					likely++
				}
				if !math.IsNaN(at) {
					confirmed++
					assert.True(t, c.beyond && at > 12*3600, "seed %d: confirmed after %.0f s at %.0f", seed, at, count)
				}
			}
			t.Logf("likely %d of 10, confirmed %d", likely, confirmed)
		})
	}
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

// Idle connections from before the first walk end: nobody saw their birth, so
// there is no lifetime, and still nobody used them again.
func TestSurvivalOfConnectionsFromBefore(t *testing.T) {
	t.Parallel()
	for name, born := range map[string]float64{"seen long ago": -7200, "seen just now": -1} {
		p := newPopulation(3)
		p.idle, p.stuck = true, p.all
		for range 30 {
			p.born, p.dies = append(p.born, born), append(p.dies, math.Inf(1))
		}
		at, count, _ := runPopulation(t, p, 5, 4*3600, func() {
			p.closeShort(250, 0.2)
			p.open(int(poisson(p.r, 1)), forever)
			if p.now == 600 {
				p.born, p.dies = p.born[20:], p.dies[20:]
			}
		})
		t.Logf("%s: confirmed after %.0f s at %.0f", name, at, count)
		assert.Less(t, at, 3600.0)
	}
}

// Repairs end idle sockets under their descriptors: those stay, unattached,
// and are no pool's.
func TestSurvivalOfRepairs(t *testing.T) {
	t.Parallel()
	p := newPopulation(3)
	p.idle, p.stuck = true, p.all
	e := newEngine(t)
	l := NewLife("test", &leak.Process{}, nil, origin)
	objects := l.Objects(leak.KindSocket, ":80")
	sleepers := l.Series(e, &Spec{Metric: leak.MetricDescriptorIdle, Kind: leak.KindSocket, Site: ":80", Use: UseIdle})
	stuck := l.Series(e, &Spec{Metric: leak.MetricSocketCount, Kind: leak.KindSocket, Site: ":80", Stuck: true})
	repaired := 0.0
	for ; p.now < 4*3600; p.now += 5 {
		p.closeShort(250, 0.2)
		p.open(int(poisson(p.r, 1)), forever)
		p.noIdle = true
		p.scan(e, objects, sleepers)
		idle := max(0, p.all()-60)
		if math.Mod(p.now, 600) == 0 {
			repaired = idle
		}
		at := origin + int64(p.now*1e9)
		sleepers.Observe(e, 0, at, idle-repaired)
		stuck.Observe(e, 0, at, repaired)
		e.Judge(l)
		l.Findings(nil, true)
		require.False(t, objects.group.survival.pool, "after %.0f s", p.now)
	}
}
