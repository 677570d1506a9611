// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

// proof counts the scans in which objects were proven leaked by a mechanism.
type proof struct {
	source    string
	first     float64 // at the first of the scans in a row
	value     float64
	since     int64
	interval  int64
	at        int64
	scans     int // in a row at or above the threshold
	clean     int // in a row below it
	confirmed bool
	ended     bool // it was confirmed, and is over
}

func (p *proof) add(cfg *Proof, t int64, v float64) {
	p.interval = t - p.at
	p.at, p.value = t, v
	if v < cfg.Threshold {
		p.clean++
		p.scans = 0
		if p.clean >= cfg.Scans {
			p.ended = p.ended || p.confirmed
			p.confirmed = false
		}
		return
	}
	p.clean, p.ended = 0, false
	if p.scans == 0 || v < p.first {
		p.first = v
		if p.scans == 0 {
			p.since = t
		}
	}
	p.scans++
	p.confirmed = p.confirmed || p.scans >= cfg.Scans
}
