// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"math"
	"time"
)

// Finding is one judgement about one kind and site of one process life.
// Rates are per second of event time; NaN and zero times mean "not known".
type Finding struct {
	ID     string // stable for the life of the finding
	Kind   Kind
	Site   string // "" where the series has none
	Source string // name of the metric judged
	Basis  Basis
	Role   Role

	State    State
	Previous State     // state before the last transition
	Since    time.Time // event time of the last transition
	Time     time.Time // event time of the newest evidence
	Onset    time.Time // when the growth began, zero if not known

	Evidence         float64 // log10 of the e-value against "this does not leak"
	Growth           float64 // objects/s, or bytes/s where Kind.Bytes()
	TimeToExhaustion float64 // seconds
	Value            float64 // current value of the series
	Limit            float64 // the limit it climbs to
	LimitScope       string  // process, user, cgroup or host
	LifetimeP99      float64 // seconds; 99th percentile of closed lifetimes at the site
	Reason           string  // why, in plain words

	TimeScale  float64       // 1 unless waits were shortened for a test, demo or replay
	Interval   time.Duration // interval between the samples of the source
	Process    Process
	Provenance *Provenance // nil unless made in this process from this host's receiver
}

// NewFinding returns a Finding whose numbers are all "not known".
func NewFinding() Finding {
	nan := math.NaN()
	return Finding{
		Evidence: nan, Growth: nan, TimeToExhaustion: nan, Value: nan, Limit: nan, LifetimeP99: nan, TimeScale: 1,
	}
}

// Transition reports whether the finding changed its state at its newest
// evidence, so that this sighting is the one that makes an event.
func (f *Finding) Transition() bool { return f.Time.Equal(f.Since) }
