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
	batch     int    // size of the next batch
	stopped   string // why no batch follows
	lastPass  time.Time
	sockets   int // sockets of the process at the last look
}

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
