// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"fmt"
	"slices"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// forgetAfter is after how many intervals without a word a finding is
// forgotten: its series or its process has ended.
const forgetAfter = 10

// grace is added to the age that evidence may have: the way through the
// pipeline takes time too.
const grace = 5 * time.Second

// drain takes what leak_detect proposed.
func (e *Engine) drain(now time.Time) {
	for id, f := range e.queue.take() {
		t := e.targets[id]
		if f.State.Closed() {
			delete(e.targets, id)
			continue
		}
		if !f.State.Open() {
			continue
		}
		if t == nil {
			if len(e.targets) >= e.set.MaxFindings {
				e.count(CountQueueRefused, "", 1)
				continue
			}
			t = &target{batch: 1}
			t.policy, t.action = e.policyFor(&f)
			e.targets[id] = t
		} else if gap := f.Time.Sub(t.finding.Time); gap > 0 {
			t.interval = gap
		}
		if f.Interval > 0 {
			t.interval = f.Interval
		}
		t.finding, t.seen = f, now
	}
	for id, t := range e.targets {
		if now.Sub(t.seen) > max(forgetAfter*t.interval, time.Minute) {
			delete(e.targets, id)
		}
	}
	e.nTargets.Store(int64(len(e.targets)))
}

// policyFor returns the first policy that matches, and the first of its
// actions that this environment allows and that suits the kind.
func (e *Engine) policyFor(f *leak.Finding) (*Policy, Action) {
	for i := range e.set.Policies {
		p := &e.set.Policies[i]
		if !p.matches(f) {
			continue
		}
		if f.Kind != leak.KindSocket || f.Site == "" || f.Site == leak.SiteOther {
			return p, ""
		}
		var wished Action
		for _, a := range p.Actions {
			if a == ActionNotify {
				continue
			}
			if _, ok := e.env.allows(a); ok {
				return p, a
			}
			if wished == "" {
				wished = a
			}
		}
		return p, wished
	}
	return nil, ""
}

// notify journals once that a finding is there and what to do. It is all that
// happens where no policy names an act.
func (e *Engine) notify(t *target) {
	if t.notified || t.finding.State != leak.StateConfirmed {
		return
	}
	named := t.policy == nil || slices.Contains(t.policy.Actions, ActionNotify)
	if !named || t.finding.Provenance == nil {
		return
	}
	f := &t.finding
	r := &Record{
		Type: TypeProposed, Action: ActionNotify, ID: "notify-" + f.ID, Finding: findingRef(f), Process: processRef(&f.Process),
		Text: fmt.Sprintf("%s (pid %d) leaks %s%s: %s", orDefault(f.Process.ExecutableName, "process"), f.Process.PID,
			f.Kind, atSite(f.Site), advice(f)),
	}
	if t.policy != nil {
		r.Policy = t.policy.Name
	}
	if e.note(r) {
		t.notified = true
		e.count(CountProposed, string(ActionNotify), 1)
	}
}

func atSite(site string) string {
	if site == "" {
		return ""
	}
	return " at " + site
}

func advice(f *leak.Finding) string {
	switch f.Kind {
	case leak.KindSocket:
		return "look for a connection or response body that is not closed on every path; a policy of auto_fix could shut the dead ones"
	case leak.KindGoroutine, leak.KindThread:
		return "look for one that waits for ever: a channel nobody closes, a missing timeout"
	case leak.KindMemory, leak.KindCache:
		return "look for a map, slice or cache that only grows"
	default:
		return "look for one that is opened and not closed on every path"
	}
}

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
