// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"cmp"
	"slices"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// recoverIntents gives an outcome to every intent that an earlier run left
// without one. It looks only; nothing is done.
func (e *Engine) recoverIntents() {
	intents, applied := e.journal.OpenIntents()
	slices.SortFunc(intents, func(a, b Record) int { return cmp.Compare(a.Seq, b.Seq) })
	for i := range intents {
		r := intents[i]
		act, wasApplied := applied[r.ID]
		if wasApplied {
			r = act
		}
		e.concludeRecovered(&r, wasApplied)
	}
	if err := e.journal.Sync(); err != nil {
		e.count(CountJournalErrors, "sync", 1)
	}
}

func (e *Engine) concludeRecovered(r *Record, wasApplied bool) {
	v := e.lookBack(r, wasApplied)
	r.Seq, r.Guards = 0, nil
	r.Time = e.now()
	r.Type, r.Freed, r.After = v.typ, v.freed, v.after
	r.Text = "found at start: " + v.why
	e.note(r)
	switch v.typ {
	case TypeWithdrawn:
		e.remember(r)
	case TypeVerified:
		e.count(CountVerified, string(r.Action), 1)
	case TypeFailed:
		e.count(CountFailed, string(r.Action), 1)
	default:
		e.count(CountUnknown, string(r.Action), 1)
	}
}

func (e *Engine) lookBack(r *Record, wasApplied bool) verdictOn {
	if r.Object == nil || r.Process == nil {
		return verdictOn{typ: TypeUnknown, why: "the record names no object"}
	}
	if r.Process.HostID != e.host.hostID || r.Process.BootID != e.host.bootID {
		return verdictOn{typ: TypeUnknown, why: "the host was started anew meanwhile"}
	}
	process := leak.Process{InstanceID: r.Process.InstanceID, PID: r.Process.PID}
	before := stateNumber(r.Object.State)
	v := e.host.verify(e.diag, &process, r.Object, before)
	switch {
	case v.typ == TypeFailed && !wasApplied:
		v.typ, v.why = TypeWithdrawn, "the collector ended before the act: "+v.why
	case v.typ == TypeVerified && !wasApplied:
		// The owner may have closed it: not ours to claim.
		v.typ, v.why = TypeUnknown, "the collector ended between intent and outcome, and "+v.why
	}
	return v
}

func stateNumber(name string) uint8 {
	for state := sockdiag.StateEstablished; state <= sockdiag.StateClosing; state++ {
		if sockdiag.StateName(state) == name {
			return state
		}
	}
	return 0
}
