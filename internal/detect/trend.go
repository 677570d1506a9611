// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import "math"

// maxGap bounds the empty blocks that are closed one by one, in the longest
// blocks; a longer silence starts the series anew.
const maxGap = 64

// trend is the whole state of the record-trough test of one series.
type trend struct {
	half   [maxHalves]summary
	lad    [scales]ladder
	ring   rings
	grade  [grades]grade
	blocks uint32 // closed shortest blocks
}

func newTrend() *trend {
	t := &trend{}
	for i := range t.ring {
		for j := range t.ring[i] {
			t.ring[i][j] = float32(math.NaN())
		}
	}
	return t
}

// push closes one shortest block, and the longer ones that end with it.
// expected is how many samples a shortest block should hold.
func (t *trend) push(p *plan, s summary, expected float64) {
	t.blocks++
	for k := range p.levels {
		if k < scales {
			need := max(minBlockSamples, blockFill*expected*float64(int(1)<<k))
			t.lad[k].close(p, k, s, t.blocks, float64(s.n) >= need)
		}
		if r := k - p.ringShift; r >= 0 && r < ringLevels {
			v := float32(math.NaN())
			if s.n > 0 {
				v = s.min
			}
			t.ring[r][(t.blocks>>k-1)%ringSize] = v
		}
		if t.blocks&(1<<k) != 0 { // first half of the next longer block
			t.half[k] = s
			return
		}
		s = t.half[k].merge(s)
	}
}
