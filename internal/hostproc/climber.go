// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

// climber sees from a few numbers per process whether a count climbs: its
// minimum over a window rose three windows running. Three window lengths see
// fast and slow climbs. It decides what to look at, not what is a leak.
type climber struct {
	scales [3]troughs
}

// windows are lengths in samples.
var windows = [3]uint16{3, 24, 192}

// minimumClimb is the rise, in objects, below which nothing is looked at.
const minimumClimb = 3

type troughs struct {
	minimum int64
	samples uint16
	filled  uint8
	last    [3]int64
}

// observe takes one sample and reports whether the count climbs.
func (c *climber) observe(v int64) bool {
	climbs := false
	for i := range c.scales {
		climbs = c.scales[i].observe(v, windows[i]) || climbs
	}
	return climbs
}

func (t *troughs) observe(v int64, window uint16) bool {
	if t.samples == 0 || v < t.minimum {
		t.minimum = v
	}
	t.samples++
	if t.samples < window {
		return false
	}
	t.samples = 0
	t.last[0], t.last[1], t.last[2] = t.last[1], t.last[2], t.minimum
	if t.filled < 3 {
		t.filled++
	}
	return t.filled == 3 && t.last[0] < t.last[1] && t.last[1] < t.last[2] && t.last[2]-t.last[0] >= minimumClimb
}
