// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// maxJudged bounds how many objects a pass judges for one finding: after it
// the pass ends, and the next goes on with those not tried for longest.
const maxJudged = 128

// tick is one round of the worker.
func (e *Engine) tick(ctx context.Context) {
	defer e.rounds.Add(1)
	now := e.now()
	e.drain(now)
	e.takeLease()
	e.settleMode()
	e.mu.Lock()
	off := e.off
	e.mu.Unlock()
	if off || !e.ready.Load() {
		return
	}
	e.verifyPending(now)
	var acting []*target
	for _, t := range e.targets {
		e.notify(t)
		if t.action != "" && e.mayLookInto(t, now) {
			acting = append(acting, t)
		}
	}
	// The order must not be that of a map: limits are shared between findings.
	slices.SortFunc(acting, func(a, b *target) int { return cmp.Compare(a.finding.ID, b.finding.ID) })
	if e.look(acting, now) {
		e.pass(ctx, acting)
	}
	if err := e.journal.Sync(); err != nil {
		e.count(CountJournalErrors, "sync", 1)
	}
}

// mayLookInto decides by the guards that need no object whether a process is
// looked into at all, and journals a refusal once.
func (e *Engine) mayLookInto(t *target, now time.Time) bool {
	v := e.judgeFinding(t, now)
	refused := v.RefusedBy(GuardProvenance) || v.RefusedBy(GuardProtected)
	if t.finding.State != leak.StateConfirmed {
		return !refused
	}
	if why, ok := e.host.sameProcess(&t.finding.Process); !refused && !ok {
		v.refuse(GuardIdentity, why)
		refused = true
	}
	if !refused {
		t.refusedBy = ""
		return true
	}
	if key := v.key(); key != t.refusedBy {
		t.refusedBy = key
		e.refuse(t, nil, v)
	}
	return false
}

// look reads the descriptors of the processes and the sockets behind them,
// and brings the watches up to date. Where that fails the watches stand as
// they were: byte counts tell later what happened meanwhile.
func (e *Engine) look(acting []*target, now time.Time) bool {
	living := map[string]bool{}
	if len(acting) > 0 {
		held, wanted := e.heldSockets(acting)
		ours, err := ownAddresses()
		if err != nil {
			e.count(CountLookErrors, "addresses", 1)
			return false
		}
		tables, err := lookAt(e.diag, wanted, ours, loopbackIsTranslated(e.host.root))
		if err != nil {
			e.count(CountLookErrors, "sockets", 1)
			return false
		}
		for _, t := range acting {
			e.watch(t, held[t.finding.Process.InstanceID], tables, now)
			living[t.finding.Process.InstanceID] = true
		}
	}
	e.watches.sweep(now, living)
	e.nWatched.Store(int64(len(e.watches.objects)))
	return true
}

// heldSockets returns the sockets of each process life by descriptor, and the
// inodes of all of them.
func (e *Engine) heldSockets(acting []*target) (held map[string]map[int32]uint64, wanted map[uint64]bool) {
	held, wanted = map[string]map[int32]uint64{}, map[uint64]bool{}
	for _, t := range acting {
		p := &t.finding.Process
		if held[p.InstanceID] != nil {
			continue
		}
		fds := map[int32]uint64{}
		err := descriptors(e.host.path(p.PID, "fd"), func(fd int32, link []byte) {
			if inode, ok := socketInode(link); ok {
				fds[fd], wanted[inode] = inode, true
			}
		})
		if err != nil && !gone(err) {
			e.count(CountLookErrors, "descriptors", 1)
		}
		held[p.InstanceID] = fds
	}
	return held, wanted
}

func (e *Engine) watch(t *target, fds map[int32]uint64, tables *tables, now time.Time) {
	instance := t.finding.Process.InstanceID
	t.sockets = len(fds)
	for fd, inode := range fds {
		s := tables.sights[inode]
		if s == nil || s.state == sockdiag.StateListen || tables.site(s) != t.finding.Site {
			continue
		}
		key := objectKey{instance: instance, fd: fd, inode: inode, cookie: s.id.Cookie}
		if w := e.watches.objects[key]; w != nil && w.seen.Equal(now) {
			continue // another finding of the same site was here
		}
		e.watches.observe(key, t.finding.Site, s, now, t.policy.MinIdle)
	}
}

// candidates are the objects of a finding that have been left alone long
// enough, those first that were not tried yet or for longest.
func (e *Engine) candidates(t *target, now time.Time) []*watched {
	wait := patience(&t.finding, t.policy)
	found := e.watches.of(t.finding.Process.InstanceID, t.finding.Site)
	found = slices.DeleteFunc(found, func(w *watched) bool {
		if w.acted || w.idle(now) < wait {
			return true
		}
		return w.last.state != sockdiag.StateCloseWait && w.last.state != sockdiag.StateEstablished
	})
	slices.SortFunc(found, func(a, b *watched) int {
		return cmp.Or(a.tried.Compare(b.tried), a.since.Compare(b.since), cmp.Compare(a.key.fd, b.key.fd))
	})
	return found
}

// pass judges candidates of every finding against one look over the host, and
// goes on as far as the mode allows.
func (e *Engine) pass(ctx context.Context, acting []*target) {
	now := e.now()
	wanted := map[uint64]bool{}
	chosen := make(map[*target][]*watched, len(acting))
	for _, t := range acting {
		if t.finding.State != leak.StateConfirmed || !e.worthAPass(t, now) {
			continue
		}
		found := e.candidates(t, now)
		for i, w := range found {
			if i < maxJudged {
				wanted[w.key.inode] = true
			}
		}
		if len(found) > 0 {
			chosen[t] = found
		}
	}
	if len(chosen) == 0 {
		return
	}
	h := e.host.lookForHolders(wanted, now)
	for _, t := range acting {
		if found := chosen[t]; found != nil && ctx.Err() == nil {
			e.passOver(ctx, t, found, h)
		}
	}
}

// worthAPass leaves out what would only be refused as before: the look over
// the host is not free.
func (e *Engine) worthAPass(t *target, now time.Time) bool {
	if t.rehearsed || t.waiting != "" || t.stopped != "" {
		return e.expireIfDue(t, now)
	}
	if len(e.pendingOf(t)) > 0 {
		return false
	}
	return t.lastPass.IsZero() || now.Sub(t.lastPass) >= e.set.Limits.Cooldown
}

func (e *Engine) expireIfDue(t *target, now time.Time) bool {
	if t.waiting != "" && !now.Before(t.expires) && !t.expired {
		t.expired = true
		e.note(&Record{
			Type: TypeExpired, ID: t.waiting, Policy: t.policy.Name, Action: t.action, Finding: findingRef(&t.finding),
			Process: processRef(&t.finding.Process), Text: "nobody approved within " + e.set.ApprovalTimeout.String(),
		})
	}
	return false
}

func (e *Engine) passOver(ctx context.Context, t *target, found []*watched, h *hostSight) {
	slots := passLimit(t.policy.PerPassFraction, t.sockets)
	var batch []*watched
	for i, w := range found {
		if i >= maxJudged || len(batch) >= t.batch || ctx.Err() != nil {
			break
		}
		if len(batch) >= slots {
			break
		}
		now := e.now()
		w.tried = now
		v := e.judge(t, w, h, slots-len(batch), now)
		if v.Pass() {
			e.propose(t, w, v)
			batch = append(batch, w)
			continue
		}
		if !v.RefusedBy(GuardLimits) {
			e.limits.giveBack(t.finding.Process.InstanceID, executableOf(&t.finding))
		}
		if key := v.key(); key != w.refusedBy {
			w.refusedBy = key
			e.propose(t, w, nil)
			e.refuse(t, w, v)
		}
	}
	if len(batch) == 0 {
		return
	}
	t.lastPass = e.now()
	more := len(found) - len(batch)
	switch e.inForce() {
	case ModeEnforce:
		e.enforce(ctx, t, batch, h)
	case ModeApprove:
		e.awaitApproval(t, batch, more)
	case ModeDryRun:
		e.rehearse(t, batch[0], more)
	}
}
