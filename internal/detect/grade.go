// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

const (
	idle      = iota // nothing to say
	waiting          // threshold passed; a fill may last so long
	regaining        // waited; the wealth must come again
	standing         // said
)

// grade is the way of one grade of evidence from a passed threshold to a
// finding. Indices count shortest blocks.
type grade struct {
	onset    uint32 // begin of the run
	crossed  uint32 // when the first threshold was passed
	until    uint32 // end of the wait, then of the second chance
	floor    float32
	evidence float32 // log10 of the wealth that counted
	phase    uint8
	scale    uint8
	drops    uint8
	dropped  bool // the last end was a fall, not a plateau
}

// verdict is what changed at a grade.
type verdict uint8

const (
	unchanged verdict = iota
	raised
	ended
)

// judge moves grade g on after a push.
func (t *trend) judge(p *plan, g int) verdict {
	s := &t.grade[g]
	now := t.blocks
	switch s.phase {
	case idle:
		k, wealth := t.alarm(g, &p.first[g])
		if k < 0 {
			return unchanged
		}
		*s = grade{
			phase: waiting, scale: uint8(k), onset: t.lad[k].onset[g], crossed: now,
			evidence: float32(math.Log10(float64(wealth))),
		}
		s.until = max(now, s.onset+p.fill)
		return raised
	case waiting:
		if now < s.until {
			return unchanged
		}
		t.restart(g)
		s.phase = regaining
		s.until = now + 6*(s.crossed-s.onset) + 3*p.fill/2 + p.day
	case regaining:
		return t.regain(p, g)
	case standing:
		return t.stand(p, g)
	}
	return unchanged
}

// alarm returns the block length with the most wealth for its threshold.
func (t *trend) alarm(g int, threshold *[scales]float32) (int, float32) {
	best, at, most := float32(1), -1, float32(0)
	smooth := false // at this block length or a longer one
	for k := scales - 1; k >= 0; k-- {
		l := &t.lad[k]
		w := l.wealth(g)
		smooth = smooth || l.smooth()
		if w < threshold[k] || g == strict && (smooth || !l.known()) {
			continue
		}
		if ratio := w / threshold[k]; ratio >= best {
			best, at, most = ratio, k, w
		}
	}
	return at, most
}

func (t *trend) restart(g int) {
	for k := range t.lad {
		t.lad[k].reset(g, t.blocks)
	}
}

func (t *trend) regain(p *plan, g int) verdict {
	s := &t.grade[g]
	if t.blocks > s.until {
		t.restart(g)
		s.phase = idle
		s.dropped = false
		return ended
	}
	k, wealth := t.alarm(g, &p.second[g])
	if k < 0 {
		return unchanged
	}
	var run troughs
	t.ring.run(p, s.onset, t.blocks, &run)
	if !run.persists() {
		t.restart(g)
		return unchanged
	}
	s.phase = standing
	s.scale = uint8(k)
	s.floor = float32(run.value[0])
	s.evidence = max(s.evidence, float32(math.Log10(float64(wealth))))
	s.drops = 0
	return raised
}

// stand watches for the end: a trough that fell back most of the climb, five
// blocks in a row, or no record for more than a day.
func (t *trend) stand(p *plan, g int) verdict {
	s := &t.grade[g]
	l := &t.lad[s.scale]
	if t.blocks&(1<<s.scale-1) == 0 {
		if top := max(l.min0, l.min1); l.last < s.floor+(top-s.floor)/2 {
			s.drops++
		} else {
			s.drops = 0
		}
	}
	newest := uint32(0)
	for k := int(s.scale); k < scales; k++ {
		newest = max(newest, t.lad[k].record)
	}
	if w := l.wealth(g); w > 1 {
		s.evidence = max(s.evidence, float32(math.Log10(float64(w))))
	}
	s.dropped = s.drops >= 5
	if s.dropped || t.blocks-newest > max(p.quiet, 8<<s.scale) {
		t.restart(g)
		s.phase = idle
		return ended
	}
	return unchanged
}
