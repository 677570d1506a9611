// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math"
	"slices"
)

// rings keep the newest troughs at several resolutions, so that a run that
// began an hour or ten days ago is seen at about the same number of points.
type rings [ringLevels][ringSize]float32

// troughs are the points of one run, oldest first.
type troughs struct {
	at    [ringSize]uint32 // block index of each end
	value [ringSize]float64
	n     int
}

// run collects the troughs from onset to now (both in shortest blocks).
func (r *rings) run(p *plan, onset, now uint32, out *troughs) {
	out.n = 0
	level := 0
	for level < ringLevels-1 && now-onset > ringSize<<(p.ringShift+level) {
		level++
	}
	shift := p.ringShift + level
	newest := now >> shift
	oldest := (onset + 1<<shift - 1) >> shift
	if newest > ringSize {
		oldest = max(oldest, newest-ringSize)
	}
	for i := oldest; i < newest; i++ {
		v := float64(r[level][i%ringSize])
		if math.IsNaN(v) {
			continue
		}
		out.at[out.n], out.value[out.n] = (i+1)<<shift, v
		out.n++
	}
}

func (t *troughs) median(from, to int) float64 {
	var buf [ringSize]float64
	part := buf[:copy(buf[:], t.value[from:to])]
	slices.Sort(part)
	if len(part)%2 == 1 {
		return part[len(part)/2]
	}
	return (part[len(part)/2-1] + part[len(part)/2]) / 2
}

// persists reports growth that does not decay: from the middle to the end at
// least 0.6 of that from the onset to the middle, and still going on in the
// last quarter. A fill that has ended fails it.
func (t *troughs) persists() bool {
	if t.n < 6 {
		return false
	}
	w := max(1, t.n/6)
	mid, late := (t.n-w)/2, t.n-w-(t.n-w)/4
	a, b, c := t.median(0, w), t.median(mid, mid+w), t.median(t.n-w, t.n)
	d := t.median(min(late, t.n-w)-w/2, min(late, t.n-w)-w/2+w)
	return b > a && c-b >= 0.6*(b-a) && c-d > 0.35*(c-b)
}

// slope is the Theil–Sen estimate in value per shortest block.
func (t *troughs) slope() float64 {
	var buf [ringSize * (ringSize - 1) / 2]float64
	pairs := buf[:0]
	for i := 1; i < t.n; i++ {
		for j := range i {
			pairs = append(pairs, (t.value[i]-t.value[j])/float64(t.at[i]-t.at[j]))
		}
	}
	if len(pairs) == 0 {
		return math.NaN()
	}
	slices.Sort(pairs)
	return pairs[len(pairs)/2]
}
