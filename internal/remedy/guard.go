// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"slices"
	"strconv"
	"strings"
)

// Guard is the number of a guard, as operators know it from the documentation.
type Guard int

// The guards. 11 (breaker) comes with a later version.
const (
	GuardProvenance   Guard = 0
	GuardKillSwitch   Guard = 1
	GuardProtected    Guard = 2
	GuardListener     Guard = 3
	GuardTraffic      Guard = 4
	GuardOwnWatch     Guard = 5
	GuardIdentity     Guard = 6
	GuardSoleHolder   Guard = 7
	GuardGrade        Guard = 8
	GuardLimits       Guard = 9
	GuardBlastRadius  Guard = 10
	GuardEnvironment  Guard = 12
	GuardHostLease    Guard = 13
	GuardAlreadyActed Guard = 14
)

// String returns the name used in the journal and in telemetry.
func (g Guard) String() string {
	switch g {
	case GuardProvenance:
		return "provenance"
	case GuardKillSwitch:
		return "kill_switch"
	case GuardProtected:
		return "protected"
	case GuardListener:
		return "listener"
	case GuardTraffic:
		return "traffic"
	case GuardOwnWatch:
		return "own_watch"
	case GuardIdentity:
		return "identity"
	case GuardSoleHolder:
		return "sole_holder"
	case GuardGrade:
		return "grade"
	case GuardLimits:
		return "limits"
	case GuardBlastRadius:
		return "blast_radius"
	case GuardEnvironment:
		return "environment"
	case GuardHostLease:
		return "host_lease"
	case GuardAlreadyActed:
		return "already_acted"
	default:
		return "guard_" + strconv.Itoa(int(g))
	}
}

// Verdict is what one guard said about one object, and why.
type Verdict struct {
	Guard  Guard  `json:"guard"`
	Name   string `json:"name"`
	Pass   bool   `json:"pass"`
	Reason string `json:"reason"`
}

// Verdicts collects the verdicts of every guard: none is skipped because
// another refused.
type Verdicts []Verdict

func (v *Verdicts) pass(g Guard, reason string) { v.add(g, true, reason) }

func (v *Verdicts) refuse(g Guard, reason string) { v.add(g, false, reason) }

func (v *Verdicts) add(g Guard, pass bool, reason string) {
	*v = append(*v, Verdict{Guard: g, Name: g.String(), Pass: pass, Reason: reason})
}

// overrule turns a verdict into a refusal, or adds one.
func (v *Verdicts) overrule(g Guard, reason string) {
	if i := v.index(g); i >= 0 {
		(*v)[i].Pass, (*v)[i].Reason = false, reason
		return
	}
	v.refuse(g, reason)
}

// explain gives the reason of a verdict that stands.
func (v *Verdicts) explain(g Guard, reason string) {
	if i := v.index(g); i >= 0 {
		(*v)[i].Reason = reason
	}
}

func (v *Verdicts) index(g Guard) int {
	return slices.IndexFunc(*v, func(verdict Verdict) bool { return verdict.Guard == g })
}

// Pass reports whether there are verdicts and all of them pass.
func (v Verdicts) Pass() bool {
	for i := range v {
		if !v[i].Pass {
			return false
		}
	}
	return len(v) > 0
}

// Refused returns the verdicts that refuse.
func (v Verdicts) Refused() Verdicts {
	var refused Verdicts
	for i := range v {
		if !v[i].Pass {
			refused = append(refused, v[i])
		}
	}
	return refused
}

// RefusedBy reports whether this guard refused.
func (v Verdicts) RefusedBy(g Guard) bool {
	for i := range v {
		if v[i].Guard == g && !v[i].Pass {
			return true
		}
	}
	return false
}

// String names the guards that refuse, with their reasons.
func (v Verdicts) String() string {
	var b strings.Builder
	for _, r := range v.Refused() {
		if b.Len() > 0 {
			b.WriteString("; ")
		}
		b.WriteString("guard " + strconv.Itoa(int(r.Guard)) + " " + r.Name + ": " + r.Reason)
	}
	return b.String()
}

// key tells one set of refusing guards from another, so that a refusal is
// journaled when it changes and not at every pass.
func (v Verdicts) key() string {
	var b strings.Builder
	for i := range v {
		if !v[i].Pass {
			b.WriteString(v[i].Name + ",")
		}
	}
	return b.String()
}
