// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// maxWealth keeps a long run far from the end of float32.
const maxWealth = 1e30

// summary is what one block leaves behind.
type summary struct {
	min, mean float32
	n         uint32 // samples
}

func (s summary) merge(o summary) summary {
	switch {
	case s.n == 0:
		return o
	case o.n == 0:
		return s
	}
	n := s.n + o.n
	w := float32(o.n) / float32(n)
	return summary{min: min(s.min, o.min), mean: s.mean + (o.mean-s.mean)*w, n: n}
}

const (
	primed = 1 << iota
	minRecord
	meanRecord
	adjacent  // last is of the block just before
	increment // and lastUp is its increment
)

// ladder is the record-trough test at one block length. All indices count
// shortest blocks since the origin of the series.
type ladder struct {
	min0, min1   float32 // largest minimum of the window before, of this window
	mean0, mean1 float32
	last, lastUp float32 // last minimum, its increment
	rho          autocorr
	strict       [strictBets]float32
	easyMin      [easyBets]float32
	easyMean     [easyBets]float32
	onset        [grades]uint32
	record       uint32 // where the last record was
	age          uint16
	flags        uint8
	past         uint8 // increments before the run, up to 255
}

// autocorr is the lag-1 autocorrelation of block increments, with a memory of
// some 48 blocks. The increments of the present run are kept apart from those
// before it and centred on their own mean: a steady ramp does not count, nor
// does its beginning after a time without growth.
type autocorr struct {
	n, sum, square, product float32 // of the run
	squares, products       float32 // before it
}

const forget = 1 - 1.0/48

func (a *autocorr) add(d, before float32) {
	a.n = a.n*forget + 1
	a.sum = a.sum*forget + d
	a.square = a.square*forget + d*d
	a.product = a.product*forget + d*before
}

// begin starts a new run; it returns how many increments went to the past.
func (a *autocorr) begin() float32 {
	n := a.n
	fade := float32(math.Pow(forget, float64(n)))
	a.squares = a.squares*fade + a.square
	a.products = a.products*fade + a.product
	a.n, a.sum, a.square, a.product = 0, 0, 0, 0
	return n
}

// smooth reports a run that is too smooth to be bet on: what the run itself
// says, and what was known before it.
func (l *ladder) smooth() bool {
	a := &l.rho
	if l.past >= minIncrements && a.products > maxAutocorr*a.squares {
		return true
	}
	if a.n < minIncrements {
		return false
	}
	mean := a.sum / a.n
	variance := a.square/a.n - mean*mean
	if variance <= mean*mean/200 {
		return false // a straight ramp, to 7 %, has nothing to correlate
	}
	return (a.product/a.n-mean*mean)/variance > maxAutocorr
}

func (l *ladder) known() bool { return l.past >= minIncrements || l.rho.n >= minIncrements }

func (l *ladder) begin(grade int, now uint32) {
	l.onset[grade] = now
	if grade == strict {
		l.past = uint8(min(255, float32(l.past)+l.rho.begin()))
	}
}

// close takes a block that ended at index now.
func (l *ladder) close(p *plan, k int, s summary, now uint32, complete bool) {
	if !complete {
		l.flags &= primed
		return
	}
	if l.flags&primed == 0 {
		l.prime(s, now)
		return
	}
	upMin, upMean := s.min > max(l.min0, l.min1), s.mean > max(l.mean0, l.mean1)
	if l.flags&minRecord != 0 {
		stake(l.strict[:], p.strictOdds[:], upMin)
		stake(l.easyMin[:], p.easyOdds[:], upMin)
	}
	if l.flags&meanRecord != 0 {
		stake(l.easyMean[:], p.easyOdds[:], upMean)
	}
	for g := range l.onset {
		if l.wealth(g) <= 1 {
			l.begin(g, now)
		}
	}
	l.remember(s, upMin, upMean, now)
	l.age++
	if l.age >= p.rotate[k] {
		l.age = 0
		l.min0, l.min1, l.mean0, l.mean1 = l.min1, s.min, l.mean1, s.mean
		return
	}
	l.min1, l.mean1 = max(l.min1, s.min), max(l.mean1, s.mean)
}

func (l *ladder) prime(s summary, now uint32) {
	l.min0, l.min1, l.mean0, l.mean1 = s.min, s.min, s.mean, s.mean
	l.last = s.min
	l.flags = primed | adjacent | minRecord | meanRecord
	l.record = now
	l.reset(easy, now)
	l.reset(strict, now)
}

func (l *ladder) remember(s summary, upMin, upMean bool, now uint32) {
	flags := uint8(primed | adjacent)
	if l.flags&adjacent != 0 {
		d := s.min - l.last
		if l.flags&increment != 0 {
			l.rho.add(d, l.lastUp)
		}
		l.lastUp = d
		flags |= increment
	}
	l.last = s.min
	if upMin {
		flags |= minRecord
		l.record = now
	}
	if upMean {
		flags |= meanRecord
	}
	l.flags = flags
}

// stake plays one round of e <- max(1, e)·L.
func stake(e []float32, o []odds, won bool) {
	for i := range e {
		f := o[i].down
		if won {
			f = o[i].up
		}
		e[i] = min(max(1, e[i])*f, maxWealth)
	}
}

// wealth is the mean over the bets of a grade: an e-detector.
func (l *ladder) wealth(grade int) float32 {
	var sum float32
	if grade == strict {
		for _, e := range l.strict {
			sum += e
		}
		return sum / strictBets
	}
	for i := range l.easyMin {
		sum += l.easyMin[i] + l.easyMean[i]
	}
	return sum / (2 * easyBets)
}

func (l *ladder) reset(grade int, now uint32) {
	l.onset[grade] = now
	if grade == strict {
		for i := range l.strict {
			l.strict[i] = 1
		}
		return
	}
	for i := range l.easyMin {
		l.easyMin[i], l.easyMean[i] = 1, 1
	}
}
