// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"fmt"

	"github.com/otel-memguard/memguard/internal/leak"
)

// proof counts the scans in which objects were proven leaked by a mechanism.
// A finding stands while new ones are proven: that the old ones were repaired
// does not end the leak.
type proof struct {
	source    string
	grown     float64 // objects that were proven since the first of the scans
	value     float64
	since     int64 // first scan at or above the threshold
	interval  int64
	at        int64
	above     int64 // last scan at or above the threshold
	scans     int   // in a row at or above the threshold
	clean     int   // in a row below it
	confirmed bool
	ended     bool // it was confirmed, and is over
}

func (p *proof) add(cfg *Proof, hold, t int64, v float64) {
	born := max(0, v-p.value)
	p.interval = t - p.at
	p.at, p.value = t, v
	if v < cfg.Threshold {
		p.clean++
		p.scans = 0
		switch {
		case p.confirmed && p.clean >= cfg.Scans && t-p.above >= hold:
			p.confirmed, p.ended = false, true
		case p.confirmed:
			p.grown += born
		}
		return
	}
	if p.scans == 0 && !p.confirmed {
		p.since, p.grown, p.ended = t, 0, false
	} else {
		p.grown += born
	}
	p.clean, p.above = 0, t
	p.scans++
	p.confirmed = p.confirmed || p.scans >= cfg.Scans
}

// mechanisms say what was proven, by the metric that carries it.
var mechanisms = map[string]string{
	leak.MetricSocketAbandoned: "%.0f sockets are in close_wait, their other ends on this host are closed for good, " +
		"and no byte has moved since; they outlived ten times what connections there live, %d scans in a row",
	leak.MetricGoroutineLeaked: "%.0f goroutines wait for what nothing alive can reach: they can never run again, %d scans in a row",
}

func (p *proof) claim() claim {
	c := unknownClaim(leak.BasisProof)
	c.source, c.value, c.onset, c.interval, c.dropped = p.source, p.value, p.since, p.interval, p.ended
	if p.confirmed {
		c.state = leak.StateConfirmed
		text, ok := mechanisms[p.source]
		if !ok {
			text = "%.0f objects are proven leaked by their mechanism, %d scans in a row"
		}
		c.detail = fmt.Sprintf(text, p.value, p.scans)
	}
	if span := float64(p.at-p.since) / 1e9; span > 0 {
		c.growth = p.grown / span
	}
	return c
}
