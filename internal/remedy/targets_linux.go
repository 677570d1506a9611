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

// target is a finding under treatment.
type target struct {
	finding  leak.Finding
	life     *life
	policy   *Policy
	action   Action // "" where there is only notice to give
	interval time.Duration
	seen     time.Time

	notified  bool
	rehearsed bool
	refusedBy string
	waiting   string    // id of the proposal that waits for approval
	expires   time.Time // and until when
	expired   bool
	batch     int           // size of the next batch
	judged    time.Time     // of the last pass over its objects
	judgedBy  string        // what the guards that need no object refused then
	rest      time.Duration // how long unchanged refusals are not asked for again
	sockets   int           // sockets of the process at the site, at the last look
}

// drain takes what leak_detect proposed, and settles again which policy is for
// each finding: its basis may have changed, or its process have been moved.
func (e *Engine) drain(now time.Time) {
	for id, f := range e.queue.take() {
		if f.State.Closed() {
			e.close(id)
			continue
		}
		if f.State.Open() && !e.take(id, f, now) {
			e.count(CountQueueRefused, "", 1)
		}
	}
	for id, t := range e.targets {
		e.settlePolicy(t)
		e.expireIfDue(t, now)
		if now.Sub(t.seen) > max(forgetAfter*t.interval, time.Minute) && !e.owes(t) {
			delete(e.targets, id)
		}
	}
	e.forgetLives(now)
	e.nTargets.Store(int64(len(e.targets)))
}

// take brings a finding up to date. It returns false where there is no room.
func (e *Engine) take(id string, f leak.Finding, now time.Time) bool {
	life := e.lifeOf(&f)
	if life == nil {
		return false
	}
	t := e.targets[id]
	if t != nil && t.life != life { // of another process now
		e.close(id)
		t = nil
	}
	if t == nil {
		if len(e.targets) >= e.set.MaxFindings {
			return false
		}
		t = &target{batch: 1, life: life}
		e.targets[id] = t
	} else if gap := f.Time.Sub(t.finding.Time); gap > 0 {
		t.interval = gap
	}
	if f.Interval > 0 {
		t.interval = f.Interval
	}
	t.finding, t.seen = f, now
	return true
}

// close ends the treatment of a finding that has ended. What its process has
// to answer for stays with the process.
func (e *Engine) close(id string) {
	t := e.targets[id]
	if t == nil {
		return
	}
	if t.waiting != "" && !t.expired {
		e.expire(t, "the finding was closed")
	}
	delete(e.targets, id)
}

// owes reports whether a finding must not be forgotten yet, however silent.
func (e *Engine) owes(t *target) bool {
	if t.waiting != "" && !t.expired {
		return true
	}
	return slices.ContainsFunc(e.pending, func(p *pendingAct) bool { return p.target == t })
}

func (e *Engine) expireIfDue(t *target, now time.Time) {
	if t.waiting != "" && !t.expired && !now.Before(t.expires) {
		e.expire(t, "nobody approved within "+e.set.ApprovalTimeout.String())
	}
}

func (e *Engine) expire(t *target, why string) {
	t.expired = true
	r := e.about(TypeExpired, t, nil)
	r.ID, r.Text = t.waiting, why
	e.note(r)
}

// settlePolicy finds the policy for a finding anew. What was earned by
// verified repairs under one policy does not count under another.
func (e *Engine) settlePolicy(t *target) {
	policy, action := e.policyFor(&t.finding)
	if policy != t.policy || action != t.action {
		t.policy, t.action = policy, action
		t.batch, t.rest = 1, 0
		if t.waiting != "" && !t.expired {
			e.expire(t, "the policy has changed")
		}
		t.rehearsed, t.waiting, t.expired, t.judgedBy = false, "", false, ""
	}
}

// policyFor returns the first policy that matches, and the first of its
// actions that this environment allows and that suits the kind.
func (e *Engine) policyFor(f *leak.Finding) (*Policy, Action) {
	f = e.asTheKernelSays(f)
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

// asTheKernelSays returns the finding with owner and cgroup as they are now:
// both can change in the life of a process, and the finding may have come
// through other processors. Without provenance the pid may be another's, and
// guard 0 refuses anyway.
func (e *Engine) asTheKernelSays(f *leak.Finding) *leak.Finding {
	asked := slices.ContainsFunc(e.set.Policies, func(p Policy) bool {
		return len(p.Match.Owners) > 0 || len(p.Match.Cgroups) > 0
	})
	var v Verdicts
	if e.guardProvenance(&v, f); !asked || !v.Pass() {
		return f
	}
	said := *f
	said.Process.Owner, said.Process.Cgroup = e.host.belongsTo(f.Process.PID)
	return &said
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
