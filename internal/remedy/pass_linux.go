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
// looked into at all, and journals a refusal once. A finding that moves with
// another one is left to that.
func (e *Engine) mayLookInto(t *target, now time.Time) bool {
	v := e.judgeFinding(t, now)
	refused := v.RefusedBy(GuardProvenance) || v.RefusedBy(GuardProtected) || t.finding.Role == leak.RoleCorroborates
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
		tables, err := lookAt(e.diag, wanted)
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
	t.sockets = 0
	for fd, inode := range fds {
		s := tables.sights[inode]
		if s == nil || s.state == sockdiag.StateListen || tables.site(s) != t.finding.Site {
			continue
		}
		t.sockets++
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

// pass judges candidates against one look over the host, and goes on as far as
// the mode allows: of one finding for each process, in turns.
func (e *Engine) pass(ctx context.Context, acting []*target) {
	now := e.now()
	slices.SortStableFunc(acting, func(a, b *target) int { return a.judged.Compare(b.judged) })
	wanted := map[uint64]bool{}
	taken := map[*life]bool{}
	var turns []turn
	for _, t := range acting {
		if taken[t.life] || t.finding.State != leak.StateConfirmed {
			continue
		}
		found := e.candidates(t, now)
		if len(found) == 0 {
			continue
		}
		next := turn{target: t, found: found, refusedBy: e.judgeFinding(t, now).key()}
		if !e.worthAPass(&next, now) {
			continue
		}
		taken[t.life] = true
		turns = append(turns, next)
		for _, w := range found[:min(len(found), maxJudged)] {
			wanted[w.key.inode] = true
		}
	}
	if len(turns) == 0 {
		return
	}
	h := e.host.lookForHolders(wanted, now)
	for i := range turns {
		if ctx.Err() == nil {
			e.passOver(ctx, &turns[i], h)
		}
	}
}

// turn is one finding in one pass.
type turn struct {
	*target
	found     []*watched
	refusedBy string // what the guards that need no object refuse
	news      bool   // something was not judged as it is now
}

// longestRest is after how long unchanged refusals are asked for again at the
// latest.
const longestRest = 5 * time.Minute

// worthAPass leaves out what would only be refused as before: the look over
// the host is not free.
func (e *Engine) worthAPass(n *turn, now time.Time) bool {
	t := n.target
	mode := e.inForce()
	said := t.rehearsed && mode == ModeDryRun || t.waiting != "" && mode == ModeApprove
	if said || t.life.stopped != "" || len(e.pendingOf(t)) > 0 {
		return false
	}
	if !t.life.lastPass.IsZero() && now.Sub(t.life.lastPass) < e.set.Limits.Cooldown {
		return false
	}
	n.news = n.refusedBy != t.judgedBy || slices.ContainsFunc(n.found, func(w *watched) bool { return !w.judged })
	return n.news || now.Sub(t.judged) >= t.rest
}

func (e *Engine) passOver(ctx context.Context, n *turn, h *hostSight) {
	t := n.target
	slots := min(passLimit(t.policy.PerPassFraction, t.sockets), t.batch)
	onlyLimits := false
	var batch []*watched
	for _, w := range n.found[:min(len(n.found), maxJudged)] {
		if len(batch) >= slots || ctx.Err() != nil {
			break
		}
		now := e.now()
		w.tried, w.judged = now, true
		v := e.judge(t, w, h, slots-len(batch), now)
		if v.Pass() {
			e.propose(t, w, v)
			batch = append(batch, w)
			continue
		}
		if !v.RefusedBy(GuardLimits) {
			e.limits.giveBack(t.finding.Process.InstanceID, executableOf(&t.finding))
		} else if len(v.Refused()) == 1 {
			onlyLimits = true
		}
		e.refuseObject(t, w, v)
	}
	t.judged, t.judgedBy = e.now(), n.refusedBy
	t.life.lastPass = t.judged
	if len(batch) == 0 {
		t.rest = e.nextRest(t.rest, n.news || onlyLimits)
		return
	}
	t.rest = 0
	more := len(n.found) - len(batch)
	switch e.inForce() {
	case ModeEnforce:
		e.enforce(ctx, t, batch, h)
	case ModeApprove:
		e.awaitApproval(t, batch, more)
	case ModeDryRun:
		e.rehearse(t, batch[0], more)
	}
}

// nextRest doubles the rest as long as nothing changes.
func (e *Engine) nextRest(rest time.Duration, changed bool) time.Duration {
	if changed {
		return 0
	}
	return min(max(2*rest, e.set.Limits.Cooldown), longestRest)
}

// refuseObject journals what was put forward and why not, when that changes.
func (e *Engine) refuseObject(t *target, w *watched, v Verdicts) {
	key := v.key()
	if key == w.refusedBy {
		return
	}
	w.refusedBy = key
	if !t.life.said.spent(e.now()) {
		e.propose(t, w, nil)
	}
	e.refuse(t, w, v)
}
