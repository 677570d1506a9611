// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"fmt"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// judgeFinding evaluates the guards that need no object. A process that they
// refuse is not even looked into: its pid may mean something else.
func (e *Engine) judgeFinding(t *target, now time.Time) Verdicts {
	var v Verdicts
	e.guardProvenance(&v, &t.finding)
	e.guardKill(&v)
	e.guardProtectedProcess(&v, &t.finding)
	e.guardGrade(&v, t, now)
	reason, ok := e.env.allows(t.action)
	v.add(GuardEnvironment, ok, reason)
	reason, ok = e.leaseVerdict()
	v.add(GuardHostLease, ok, reason)
	return v
}

func (e *Engine) guardProvenance(v *Verdicts, f *leak.Finding) {
	p := f.Provenance
	switch {
	case p == nil:
		v.refuse(GuardProvenance, "the finding was not made from a memguard receiver of this collector")
	case p.HostID != e.host.hostID || p.BootID != e.host.bootID:
		v.refuse(GuardProvenance, "the receiver read another host or boot")
	case f.Process.HostID != e.host.hostID || f.Process.BootID != e.host.bootID:
		v.refuse(GuardProvenance, "the process is one of another host or boot")
	case !p.OwnPIDs:
		v.refuse(GuardProvenance, "the receiver's pid space is not ours")
	case f.Process.InstanceID == "" || f.Process.PID <= 0:
		v.refuse(GuardProvenance, "the finding does not identify a process")
	default:
		v.pass(GuardProvenance, "made by this collector from "+p.Receiver)
	}
}

func (e *Engine) guardKill(v *Verdicts) {
	if why, thrown := e.kill.Thrown(); thrown {
		v.refuse(GuardKillSwitch, why)
		return
	}
	v.pass(GuardKillSwitch, "not thrown")
}

// guardProtectedProcess reads the process only if the finding is ours.
func (e *Engine) guardProtectedProcess(v *Verdicts, f *leak.Finding) {
	if v.RefusedBy(GuardProvenance) {
		v.refuse(GuardProtected, "not looked at without provenance")
		return
	}
	s, st, err := e.host.subject(f.Process.PID)
	switch {
	case err != nil:
		v.refuse(GuardProtected, "cannot tell what it is: "+err.Error())
		return
	case st.flags&kernelThread != 0:
		v.refuse(GuardProtected, "a kernel thread")
		return
	case e.own[f.Process.PID]:
		v.refuse(GuardProtected, "init, this collector or one of its ancestors")
		return
	}
	for _, name := range []string{f.Process.ExecutableName, f.Process.ExecutablePath} {
		if name != "" {
			s.names = append(s.names, name)
		}
	}
	reason, ok := e.protected.process(s)
	v.add(GuardProtected, ok, reason)
}

func (e *Engine) guardGrade(v *Verdicts, t *target, now time.Time) {
	f := &t.finding
	age := now.Sub(f.Time)
	switch {
	case f.State != leak.StateConfirmed:
		v.refuse(GuardGrade, "the finding is "+string(f.State)+", not confirmed")
	case f.Role != "" && f.Role != leak.RolePrimary:
		v.refuse(GuardGrade, "the finding moves with another one, which names the cause")
	case !e.stillNamed(t):
		v.refuse(GuardGrade, "no policy names this act on this finding any more")
	case !f.Basis.Valid() || f.Basis == leak.BasisLimit:
		v.refuse(GuardGrade, fmt.Sprintf("basis %q says nothing about why it grows", f.Basis))
	case t.interval <= 0:
		v.refuse(GuardGrade, "the interval of the evidence is not known")
	case age > t.interval+grace || age < -t.interval-grace:
		v.refuse(GuardGrade, fmt.Sprintf("the evidence is %s old, the interval is %s", age.Round(time.Millisecond), t.interval))
	default:
		v.pass(GuardGrade, fmt.Sprintf("confirmed by %s, evidence %s old", f.Basis, age.Round(time.Millisecond)))
	}
}

// stillNamed reports whether the policy under which the finding is treated is
// for it now.
func (e *Engine) stillNamed(t *target) bool {
	policy, action := e.policyFor(&t.finding)
	return policy != nil && policy == t.policy && action == t.action
}
