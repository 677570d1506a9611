// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"math/rand/v2"
)

// The families of series on which the trend test is measured: ten in which
// nothing leaks, six in which something does, and the hard ones. Samples come
// every 10 s.

const (
	famStep = 10.0 // s
	famDay  = 86400 / famStep
)

type source func() float64

type family struct {
	name string
	leak bool
	make func(r *rand.Rand) source

	beyond bool // bounded, but by more than max_fill_time
}

func sawtooth(r *rand.Rand, amplitude float64) source {
	period := 30 + r.Float64()*270
	at := r.Float64() * period
	return func() float64 {
		if at += famStep; at >= period {
			at -= period
			period = 30 + r.Float64()*270
		}
		return amplitude * at / period
	}
}

// over adds a sawtooth and noise to a level that depends on time in seconds.
func over(r *rand.Rand, amplitude, sd float64, level func(t float64) float64) source {
	saw, t := sawtooth(r, amplitude), 0.0
	return func() float64 {
		t += famStep
		return level(t) + saw() + sd*r.NormFloat64()
	}
}

func poisson(r *rand.Rand, mean float64) float64 {
	if mean > 30 {
		return math.Max(0, math.Round(mean+math.Sqrt(mean)*r.NormFloat64()))
	}
	limit, k, p := math.Exp(-mean), 0.0, 1.0
	for {
		if p *= r.Float64(); p <= limit {
			return k
		}
		k++
	}
}

func binomial(r *rand.Rand, n, p float64) float64 {
	if n > 60 {
		m := n * p
		return math.Min(n, math.Max(0, math.Round(m+math.Sqrt(m*(1-p))*r.NormFloat64())))
	}
	k := 0.0
	for range int(n) {
		if r.Float64() < p {
			k++
		}
	}
	return k
}

// queue is a descriptor count: arrivals of Poisson, lives of an exponential,
// of each arrival's time a leak, all under a load that swings over the day.
func queue(r *rand.Rand, mean, life, leaksPerHour, swing float64) source {
	n, leaked, t, phase := math.Floor(mean), 0.0, 0.0, r.Float64()*2*math.Pi
	return func() float64 {
		t += famStep
		load := 1 + swing*math.Sin(2*math.Pi*t/86400+phase)
		n += poisson(r, load*mean/life*famStep) - binomial(r, n, 1-math.Exp(-famStep/life))
		leaked += poisson(r, load*leaksPerHour/3600*famStep)
		return n + leaked
	}
}

// smooth is a stationary AR(2) with two relaxation times in seconds.
func smooth(r *rand.Rand, slow, fast float64) source {
	a, b := math.Exp(-famStep/slow), math.Exp(-famStep/fast)
	x, y := 0.0, 0.0
	return over(r, 5, 0.5, func(float64) float64 {
		x = a*x + math.Sqrt(1-a*a)*r.NormFloat64()
		y = b*y + (1-b)*x
		return 300 + 60*y
	})
}

func families() []family {
	flat := func(level float64) func(float64) float64 { return func(float64) float64 { return level } }
	return []family{
		{name: "N1 sawtooth and noise", leak: false, make: func(r *rand.Rand) source { return over(r, 50, 2, flat(100)) }},
		{name: "N2 AR(1), 3 h", leak: false, make: func(r *rand.Rand) source {
			x := 0.0
			return over(r, 20, 1, func(float64) float64 {
				x = 0.999*x + math.Sqrt(1-0.999*0.999)*10*r.NormFloat64()
				return 100 + x
			})
		}},
		{name: "N3 driftless walk", leak: false, make: func(r *rand.Rand) source {
			x := 0.0
			return over(r, 20, 1, func(float64) float64 { x += 0.3 * r.NormFloat64(); return 1000 + x })
		}},
		{name: "N4 daily load", leak: false, make: func(r *rand.Rand) source {
			ph := r.Float64() * 2 * math.Pi
			return over(r, 50, 2, func(t float64) float64 { return 150 + 40*math.Sin(2*math.Pi*t/86400+ph) })
		}},
		{name: "N5 warm-up, tau <= 6 h", leak: false, make: func(r *rand.Rand) source {
			tau := 600 + r.Float64()*21000
			return over(r, 50, 2, func(t float64) float64 { return 100 + 200*(1-math.Exp(-t/tau)) })
		}},
		{name: "N6 cache fill 1-12 h", leak: false, make: func(r *rand.Rand) source {
			c := (1 + 11*r.Float64()) * 3600
			return over(r, 50, 2, func(t float64) float64 { return 100 + 200*math.Min(1, t/c) })
		}},
		{name: "N7 steps", leak: false, make: func(r *rand.Rand) source {
			l := 250.0
			return over(r, 50, 2, func(float64) float64 {
				if r.Float64() < famStep/(12*3600) {
					l = 250 + 40*r.NormFloat64()
				}
				return l
			})
		}},
		{name: "N8 bursts", leak: false, make: func(r *rand.Rand) source {
			b := 0.0
			return over(r, 30, 2, func(float64) float64 {
				if r.Float64() < famStep/3600 {
					b += 60 * r.ExpFloat64()
				}
				b *= 1 - famStep/1200
				return 100 + b
			})
		}},
		{name: "N9 descriptors", leak: false, make: func(r *rand.Rand) source { return queue(r, 50, 600, 0, 0) }},
		{name: "N10 descriptors, daily load", leak: false, make: func(r *rand.Rand) source { return queue(r, 80, 120, 0, 0.6) }},
		{name: "L1 2/h, daily load", leak: true, make: func(r *rand.Rand) source {
			ph := r.Float64() * 2 * math.Pi
			return over(r, 50, 2, func(t float64) float64 { return 150 + 2*t/3600 + 20*math.Sin(2*math.Pi*t/86400+ph) })
		}},
		{name: "L2 10/h", leak: true, make: func(r *rand.Rand) source {
			return over(r, 50, 2, func(t float64) float64 { return 100 + 10*t/3600 })
		}},
		{name: "L3 50/h", leak: true, make: func(r *rand.Rand) source {
			return over(r, 50, 2, func(t float64) float64 { return 100 + 50*t/3600 })
		}},
		{name: "L4 descriptors 6/h", leak: true, make: func(r *rand.Rand) source { return queue(r, 50, 600, 6, 0) }},
		{name: "L5 descriptors 60/h", leak: true, make: func(r *rand.Rand) source { return queue(r, 50, 600, 60, 0) }},
		{name: "L6 descriptors 12/h, daily load", leak: true, make: func(r *rand.Rand) source { return queue(r, 80, 120, 12, 0.6) }},
		{name: "H1 smooth AR(2) 3 h x 1 h", leak: false, make: func(r *rand.Rand) source { return smooth(r, 3*3600, 3600) }},
		{name: "H2 smooth AR(2) 12 h x 4 h", leak: false, make: func(r *rand.Rand) source { return smooth(r, 12*3600, 4*3600) }},
		{name: "H3 cache fill 12-60 h", leak: false, make: func(r *rand.Rand) source {
			c := (12 + 48*r.Float64()) * 3600
			return over(r, 50, 2, func(t float64) float64 { return 100 + 300*math.Min(1, t/c) })
		}, beyond: true},
		{name: "H4 weekly season", leak: false, make: func(r *rand.Rand) source {
			ph := r.Float64() * 2 * math.Pi
			return over(r, 50, 2, func(t float64) float64 { return 200 + 60*math.Sin(2*math.Pi*t/(7*86400)+ph) })
		}},
	}
}
