// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"fmt"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// life is what is remembered of one life of a process, whichever of its
// findings it comes from: a process with many leaking sites is not treated
// more often than one with a single site, and a finding that comes back does
// not begin anew.
type life struct {
	process  leak.Process
	stopped  string    // why nothing more is done to this process
	lastPass time.Time // the last time its objects were judged
	said     refusals
}

// maxRefusals is how many refusals of one process are journaled in
// refusalWindow: by waking its connections now and then, a process could else
// wash the journal out.
const (
	maxRefusals   = 64
	refusalWindow = time.Hour
)

// refusals counts what is journaled within the window that runs.
type refusals struct {
	since   time.Time
	told    int
	leftOut int
	newest  *Record // of those left out
}

// spent reports whether no more refusals are journaled for now.
func (r *refusals) spent(now time.Time) bool {
	return r.told >= maxRefusals && now.Sub(r.since) < refusalWindow
}

// take reports whether this refusal is journaled; else it is kept for the end
// of the window.
func (r *refusals) take(refused *Record, now time.Time) bool {
	if r.spent(now) {
		r.leftOut++
		r.newest = refused
		return false
	}
	if now.Sub(r.since) >= refusalWindow {
		r.since, r.told = now, 0
	}
	r.told++
	return true
}

// close returns, when a window has ended, the newest of what it left out.
func (r *refusals) close(now time.Time) *Record {
	if r.newest == nil || now.Sub(r.since) < refusalWindow {
		return nil
	}
	last := r.newest
	last.Text += fmt.Sprintf(" (the newest of %d refusals of this process that were left out since %s)",
		r.leftOut, r.since.UTC().Format(time.RFC3339))
	*r = refusals{since: now, told: 1}
	return last
}

// lifeOf returns what is remembered of the process of a finding, or nil where
// there is no room. Findings without provenance share one: they say nothing of
// a process of ours.
func (e *Engine) lifeOf(f *leak.Finding) *life {
	key := f.Process.InstanceID
	if f.Provenance == nil {
		key = ""
	}
	l := e.lives[key]
	if l == nil {
		if len(e.lives) >= e.set.MaxFindings {
			return nil
		}
		l = &life{process: f.Process}
		e.lives[key] = l
	}
	return l
}

// forgetLives drops what nobody can ask for any more: of processes that have
// ended, or that nothing but the past speaks of.
func (e *Engine) forgetLives(now time.Time) {
	used := make(map[*life]bool, len(e.targets)+len(e.pending))
	for _, t := range e.targets {
		used[t.life] = true
	}
	for _, p := range e.pending {
		used[p.target.life] = true
	}
	for key, l := range e.lives {
		if last := l.said.close(now); last != nil {
			e.note(last)
		}
		if used[l] {
			continue
		}
		owes := l.stopped != "" || l.said.newest != nil || now.Sub(l.lastPass) < e.set.Limits.Cooldown ||
			now.Sub(l.said.since) < refusalWindow
		if owes && key != "" {
			owes = !e.host.ended(&l.process)
		}
		if !owes {
			if l.said.newest != nil {
				l.said.since = time.Time{}
				e.note(l.said.close(now))
			}
			delete(e.lives, key)
		}
	}
}
