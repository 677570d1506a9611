// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"context"
	"fmt"
	"time"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// pendingAct is an act whose effect is not verified yet.
type pendingAct struct {
	target   *target
	record   Record
	before   uint8
	deadline time.Time
}

// pendingOf returns the acts on the process of a finding that are not verified.
func (e *Engine) pendingOf(t *target) []*pendingAct {
	var found []*pendingAct
	for _, p := range e.pending {
		if p.target.life == t.life {
			found = append(found, p)
		}
	}
	return found
}

// enforce writes the intents of a batch to the disk, then does one act after
// the other, each proven again, then verifies them.
func (e *Engine) enforce(ctx context.Context, t *target, batch []*watched, h *hostSight) {
	var ready []*watched
	for _, w := range batch {
		if e.note(e.about(TypeIntent, t, w)) {
			e.done[doneKey{t.finding.Process.BootID, w.key.cookie}] = true
			ready = append(ready, w)
		} else {
			e.limits.giveBack(t.finding.Process.InstanceID, executableOf(&t.finding))
		}
	}
	if err := e.journal.Sync(); err != nil {
		e.count(CountJournalErrors, "sync", 1)
		for _, w := range ready {
			e.withdraw(t, w, "the intent is not on the disk: "+err.Error())
		}
		return
	}
	e.hook("intents")
	e.host.complete(h)
	for _, w := range ready {
		e.hook("act")
		if ctx.Err() != nil {
			e.withdraw(t, w, "the collector shuts down")
			continue
		}
		if v := e.lastGuards(t, w, h); !v.Pass() {
			e.refuse(t, w, v)
			e.withdraw(t, w, v.String())
			continue
		}
		e.act(t, w, h)
	}
	e.verifyPending(e.now())
}

// lastGuards asks again, before each single act, what can change within a
// pass; prove and stillGone ask the rest with the copy in hand.
func (e *Engine) lastGuards(t *target, w *watched, h *hostSight) Verdicts {
	v := e.judgeFinding(t, e.now())
	if !e.ready.Load() {
		v.overrule(GuardEnvironment, "the pipelines do not run")
	}
	if last, err := e.host.lastPID(); err != nil || last != h.lastPID {
		e.host.complete(h) // something was forked: whoever it is, it may have inherited the socket
	}
	reason, ok := h.soleHolder(t.finding.Process.PID, w.key.fd, w.key.inode, w.last.uid, t.policy.SoleHolder, e.now())
	v.add(GuardSoleHolder, ok, reason)
	if t.life.stopped != "" {
		v.refuse(GuardBlastRadius, t.life.stopped)
	}
	h.around, h.aroundE = lookAround(e.host.root)
	return v
}

// stillGone asks for the other end of a half-closed connection again, in the
// same breath as the act.
func (e *Engine) stillGone(t *target, w *watched, h *hostSight) *Verdict {
	if w.last.state != sockdiag.StateCloseWait {
		return nil
	}
	reason, ok := e.peerGone(t, w, h, e.now())
	if ok {
		return nil
	}
	return &Verdict{Guard: GuardTraffic, Name: GuardTraffic.String(), Reason: reason}
}

func (e *Engine) withdraw(t *target, w *watched, why string) {
	delete(e.done, doneKey{t.finding.Process.BootID, w.key.cookie})
	e.limits.giveBack(t.finding.Process.InstanceID, executableOf(&t.finding))
	r := e.about(TypeWithdrawn, t, w)
	r.Text = "not done: " + why
	e.note(r)
}

func (e *Engine) act(t *target, w *watched, h *hostSight) {
	var a acted
	ask := func() *Verdict { return e.stillGone(t, w, h) }
	switch t.action {
	case ActionSocketDown:
		a = e.host.shutdown(&t.finding.Process, w, ask)
	case ActionSocketDestroy:
		a = e.host.destroy(e.diag, &t.finding.Process, w, ask)
	case ActionNotify:
	}
	e.hook("acted")
	e.account(t, w, &a)
}

// account journals what an act came to. One that failed, or hit traffic, is
// the last on this process.
func (e *Engine) account(t *target, w *watched, a *acted) {
	r := e.about(TypeApplied, t, w)
	r.Before, r.After, r.Window = sockdiag.StateName(a.before), sockdiag.StateName(a.after), a.window.Nanoseconds()
	switch {
	case a.raced:
		w.acted = a.done
		if a.done {
			t.life.stopped = "an earlier repair hit traffic: " + a.why
		} else {
			delete(e.done, doneKey{t.finding.Process.BootID, w.key.cookie})
		}
		r.Type, r.Text = TypeRaced, a.why
		e.note(r)
		e.count(CountRaced, string(t.action), 1)
		return
	case !a.done && a.refused != nil:
		e.refuse(t, w, Verdicts{*a.refused})
		e.withdraw(t, w, a.why)
		return
	case !a.done:
		w.acted = true
		r.Type, r.Text = TypeFailed, firstOfTwo(a.why, "nothing was done")
		e.note(r)
		e.count(CountFailed, string(t.action), 1)
		t.life.stopped = "an earlier repair failed: " + r.Text
		return
	}
	w.acted = true
	e.set.Observer.Window(a.window)
	e.count(CountApplied, string(t.action), 1)
	if !e.note(r) {
		t.life.stopped = "the journal cannot be written"
	}
	e.hook("applied")
	e.pending = append(e.pending, &pendingAct{
		target: t, record: *r, before: a.before, deadline: e.now().Add(e.set.VerifyTimeout),
	})
}

// verifyPending looks at every act without an outcome. When the last of a
// batch is verified, the next batch may be twice as large.
func (e *Engine) verifyPending(now time.Time) {
	if len(e.pending) == 0 {
		return
	}
	verified := map[*target]bool{}
	var waiting []*pendingAct
	for _, p := range e.pending {
		v := e.host.verify(e.diag, &p.target.finding.Process, p.record.Object, p.before)
		if !v.final && now.Before(p.deadline) {
			waiting = append(waiting, p)
			continue
		}
		e.conclude(p, &v)
		if v.typ == TypeVerified {
			verified[p.target] = true
		}
	}
	e.pending = waiting
	for t := range verified {
		if t.life.stopped == "" && t.policy != nil && len(e.pendingOf(t)) == 0 {
			t.batch = min(t.batch*2, t.policy.MaxBatch)
		}
	}
}

func (e *Engine) conclude(p *pendingAct, v *verdictOn) {
	r := p.record
	r.Seq, r.Time, r.Type = 0, time.Time{}, v.typ
	r.Freed, r.After, r.Text = v.freed, v.after, v.why
	e.note(&r)
	action := string(r.Action)
	switch v.typ {
	case TypeVerified:
		e.count(CountVerified, action, 1)
	case TypeFailed:
		e.count(CountFailed, action, 1)
		p.target.life.stopped = fmt.Sprintf("repair %s failed: %s", r.ID, v.why)
	default:
		e.count(CountUnknown, action, 1)
		p.target.life.stopped = fmt.Sprintf("the outcome of repair %s is unknown: %s", r.ID, v.why)
	}
}
