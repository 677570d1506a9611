// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

// State is the state of a finding.
type State string

// The states. A finding that is clear is not emitted at all. Resolved and
// retracted are ends: on the wire they are a closing 0 of the state before.
const (
	StateClear     State = ""
	StateSuspected State = "suspected"
	StateLikely    State = "likely"
	StateConfirmed State = "confirmed"
	StateAtRisk    State = "at_risk"
	StateResolved  State = "resolved"
	StateRetracted State = "retracted"
)

// Closed reports whether s ends a finding.
func (s State) Closed() bool { return s == StateResolved || s == StateRetracted }

// Open reports whether s is a state of a living finding.
func (s State) Open() bool {
	switch s {
	case StateSuspected, StateLikely, StateConfirmed, StateAtRisk:
		return true
	default:
		return false
	}
}

// Basis says what a finding rests on.
type Basis string

// The bases. Limit is that of at_risk, which claims nothing about why a count
// climbs, only that it nears a limit (docs/decisions/0002).
const (
	BasisTrend    Basis = "trend"
	BasisSurvival Basis = "survival"
	BasisProof    Basis = "proof"
	BasisLimit    Basis = "limit"
)

// Valid reports whether b is in the vocabulary.
func (b Basis) Valid() bool {
	switch b {
	case BasisTrend, BasisSurvival, BasisProof, BasisLimit:
		return true
	default:
		return false
	}
}

// Role tells the finding that names the cause from those that move with it.
type Role string

// The roles within one incident.
const (
	RolePrimary      Role = "primary"
	RoleCorroborates Role = "corroborates"
)
