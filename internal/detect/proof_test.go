// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otel-memguard/memguard/internal/leak"
)

// Repairs take the count down while the leak goes on: that is one finding, and
// its growth counts what was proven, not what is left.
func TestRepairsDoNotEndAProvenLeak(t *testing.T) {
	t.Parallel()
	const second = int64(1e9)
	cfg, hold := Proof{Threshold: 3, Scans: 3}, 100*second
	p := proof{source: leak.MetricSocketAbandoned}
	scan := int64(1000)
	see := func(values ...float64) leak.State {
		for _, v := range values {
			scan++
			p.add(&cfg, hold, scan*second, v)
		}
		c := p.claim()
		return c.state
	}
	assert.Equal(t, leak.StateClear, see(0, 0, 2, 2, 3, 4), "two scans at the threshold")
	assert.Equal(t, leak.StateConfirmed, see(5))
	c := p.claim()
	assert.InDelta(t, 1, c.growth, 1e-9)
	assert.Contains(t, c.detail, "5 sockets are in close_wait")
	assert.Equal(t, leak.StateConfirmed, see(0, 0, 0, 1, 2, 0), "repaired, and two more leaked")
	assert.Equal(t, leak.StateConfirmed, see(3, 4, 5))
	c = p.claim()
	assert.InDelta(t, 9.0/11, c.growth, 1e-9, "2 + 2 + 5 in 11 s")
	for range 99 {
		assert.Equal(t, leak.StateConfirmed, see(0))
	}
	assert.Equal(t, leak.StateClear, see(0), "nothing new for the whole hold")
	c = p.claim()
	assert.True(t, c.dropped)
	assert.Equal(t, leak.StateConfirmed, see(3, 3, 3), "and again")
	c = p.claim()
	assert.InDelta(t, 0, c.growth, 1e-9)
}
