// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"fmt"
	"math"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// patience is how long an object must have been left alone before it may be
// acted on: min_idle, or ten times what connections of the site live.
func patience(f *leak.Finding, p *Policy) time.Duration {
	wait := p.MinIdle
	if p99 := f.LifetimeP99; !math.IsNaN(p99) && p99 > 0 {
		const most = 365 * 24 * time.Hour
		wait = max(wait, time.Duration(math.Min(10*p99*float64(time.Second), float64(most))))
	}
	return wait
}

// judge evaluates every guard for one object. None is left out because
// another refused, so the journal shows all that stood against an act. Only the
// socket itself is not asked unless all the others pass.
func (e *Engine) judge(t *target, w *watched, h *hostSight, slots int, now time.Time) Verdicts {
	v := e.judgeFinding(t, now)
	if reason, ok := e.protected.socket(w.last.id.Local.Port(), w.last.id.Remote.Port()); !ok && !v.RefusedBy(GuardProtected) {
		v.overrule(GuardProtected, reason)
	}
	v.add(GuardListener, w.last.state != sockdiag.StateListen, "state "+sockdiag.StateName(w.last.state))
	reason, ok := e.traffic(t, w, h, now)
	v.add(GuardTraffic, ok, reason)
	guardOwnWatch(&v, t, w, now)
	e.guardIdentity(&v, t, w)
	e.guardSole(&v, t, w, h)
	e.guardLimits(&v, t, slots, now)
	guardBlast(&v, t, len(e.pendingOf(t)))
	e.guardOnce(&v, t, w)
	e.guardBySocket(&v, t, w)
	return v
}

func firstOfTwo(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func (e *Engine) traffic(t *target, w *watched, h *hostSight, now time.Time) (string, bool) {
	if !w.last.hasInfo {
		return "the kernel gives no byte counts", false
	}
	if e.watches.isPool(w) {
		return "connections of this site were used again after a long idle time: a pool", false
	}
	if n := w.last.sendQueue; n > 0 {
		return fmt.Sprintf("%d bytes are still on their way to the other end", n), false
	}
	wait := patience(&t.finding, t.policy)
	if idle := w.idle(now); idle < wait {
		return fmt.Sprintf("idle for %s, less than %s", idle.Round(time.Millisecond), wait), false
	}
	switch w.last.state {
	case sockdiag.StateCloseWait:
		return e.peerGone(t, w, h, now)
	case sockdiag.StateEstablished:
		remote := unmapped(w.last.id.Remote).String()
		if !t.policy.allowsPeer(remote) {
			return "established and idle is what a pool is for, and the policy does not name the peer " + remote, false
		}
		if w.last.lastData < wait {
			return fmt.Sprintf("data moved %s ago", w.last.lastData), false
		}
		return "idle, and the policy names the peer " + remote, true
	default:
		return "state " + sockdiag.StateName(w.last.state) + " is not one to act on", false
	}
}

// peerGone asks for the other end now and judges the answer.
func (e *Engine) peerGone(t *target, w *watched, h *hostSight, now time.Time) (string, bool) {
	if h.aroundE != nil {
		return "the host's own addresses cannot be read: " + h.aroundE.Error(), false
	}
	asked := *w
	var err error
	if asked.last.peer, err = askPeer(e.diag, &w.last.id, h.around); err != nil {
		return "the other end cannot be asked for: " + err.Error(), false
	}
	if asked.last.peer == peerAlive || asked.last.peer == peerOrphan {
		w.peerSeen, asked.peerSeen = true, true
	} else if w.last.peer == peerAlive {
		return "the tables show the other end, and a look-up does not find it", false
	}
	return peerVerdict(&asked, t.policy, now)
}

// peerVerdict judges a half-closed connection by its other end: half-close is
// legal, and an answer may still be on its way to a peer that listens.
func peerVerdict(w *watched, p *Policy, now time.Time) (string, bool) {
	switch w.last.peer {
	case peerOrphan:
		return "half-closed, and the other end is held by nobody", true
	case peerAbsentLoopback:
		return "half-closed, and the other end on this host is gone", true
	case peerAbsentLocal:
		if w.peerSeen {
			return "half-closed, and the other end on this host was seen and is gone", true
		}
	case peerAlive:
		return "half-closed, but the other end still holds the connection", false
	case peerUnknown:
		return "the other end was not asked for", false
	case peerRemote:
	}
	if after := p.RemotePeerGoneAfter; after > 0 && w.idle(now) >= after {
		return fmt.Sprintf("half-closed for %s; the policy takes the peer for gone after %s", w.idle(now).Round(time.Second), after), true
	}
	return "peer not observable", false
}

func guardOwnWatch(v *Verdicts, t *target, w *watched, now time.Time) {
	wait, idle := patience(&t.finding, t.policy), w.idle(now)
	if idle < wait {
		v.refuse(GuardOwnWatch, fmt.Sprintf("watched for %s, less than %s", idle.Round(time.Millisecond), wait))
		return
	}
	v.pass(GuardOwnWatch, fmt.Sprintf("watched for %s without a byte", idle.Round(time.Millisecond)))
}

// guardIdentity says what can be said without a copy of the descriptor.
func (e *Engine) guardIdentity(v *Verdicts, t *target, w *watched) {
	p := &t.finding.Process
	switch why, same := e.host.sameProcess(p); {
	case !same:
		v.refuse(GuardIdentity, why)
	case !e.host.holds(p.PID, w.key.fd, w.key.inode):
		v.refuse(GuardIdentity, fmt.Sprintf("descriptor %d does not lead to socket %d any more", w.key.fd, w.key.inode))
	default:
		v.pass(GuardIdentity, "process and inode are the ones watched")
	}
}

func (e *Engine) guardSole(v *Verdicts, t *target, w *watched, h *hostSight) {
	pid := t.finding.Process.PID
	if nbdHolds(pid) {
		v.refuse(GuardSoleHolder, "the process serves a network block device")
		return
	}
	reason, ok := h.soleHolder(pid, w.key.fd, w.key.inode, w.last.uid, t.policy.SoleHolder, e.now())
	v.add(GuardSoleHolder, ok, reason)
}

// ofTheSocket are the guards that have a question to the socket itself.
var ofTheSocket = []Guard{GuardListener, GuardTraffic, GuardIdentity, GuardSoleHolder}

// guardBySocket asks the socket itself, by a copy of its descriptor. It is the
// last question and only put where no guard has refused: a copy can be felt
// (it gives the socket the collector's class where the net_cls or net_prio
// controllers are in use: __receive_sock in net/core/scm.c and
// net/core/sock.c). Else the verdicts stand by what is known without it, and
// say so. Where all would pass and no copy may be taken, guard 6 refuses: what
// is not proven is not fit to be acted on.
func (e *Engine) guardBySocket(v *Verdicts, t *target, w *watched) {
	if !v.Pass() {
		for _, g := range ofTheSocket {
			if i := v.index(g); (*v)[i].Pass {
				(*v)[i].Reason += "; the socket itself was not asked, since another guard refuses"
			}
		}
		return
	}
	if e.inForce() == ModeDryRun && e.env.classified {
		v.overrule(GuardIdentity, "not proven: dry_run takes no copy where net_cls or net_prio is in use, as it would change the socket's class")
		return
	}
	p := e.host.prove(&t.finding.Process, &w.key, &w.last.id, nil)
	if p.unread != "" {
		for _, g := range ofTheSocket {
			v.overrule(g, "cannot ask the socket: "+p.unread)
		}
		return
	}
	v.explain(GuardListener, "does not accept connections")
	v.explain(GuardIdentity, "process, inode, cookie and open file are the ones watched")
	if why, moved := p.info.changed(&w.first); moved {
		v.overrule(GuardTraffic, why+" since the watch began")
	}
	for g, why := range map[Guard]string{GuardListener: p.listener, GuardIdentity: p.identity, GuardSoleHolder: p.kernelUser} {
		if why != "" {
			v.overrule(g, why)
		}
	}
}

// guardLimits takes tokens; a refusal by another guard gives them back.
func (e *Engine) guardLimits(v *Verdicts, t *target, slots int, now time.Time) {
	if slots <= 0 {
		v.refuse(GuardLimits, fmt.Sprintf("at most %v of the %d sockets at the site in one pass", t.policy.PerPassFraction, t.sockets))
		return
	}
	if since := now.Sub(t.life.lastPass); !t.life.lastPass.IsZero() && since < e.set.Limits.Cooldown {
		v.refuse(GuardLimits, fmt.Sprintf("the last pass was %s ago, cooldown is %s", since.Round(time.Millisecond), e.set.Limits.Cooldown))
		return
	}
	reason, ok := e.limits.take(now, t.finding.Process.InstanceID, executableOf(&t.finding))
	v.add(GuardLimits, ok, reason)
}

func executableOf(f *leak.Finding) string {
	return firstOfTwo(f.Process.ExecutablePath, f.Process.ExecutableName)
}

func guardBlast(v *Verdicts, t *target, pending int) {
	switch {
	case t.life.stopped != "":
		v.refuse(GuardBlastRadius, t.life.stopped)
	case pending > 0:
		v.refuse(GuardBlastRadius, fmt.Sprintf("%d earlier repairs are not verified yet", pending))
	default:
		v.pass(GuardBlastRadius, fmt.Sprintf("batch of %d", t.batch))
	}
}

func (e *Engine) guardOnce(v *Verdicts, t *target, w *watched) {
	if w.acted || e.done[doneKey{t.finding.Process.BootID, w.key.cookie}] {
		v.refuse(GuardAlreadyActed, "this very socket was acted on before")
		return
	}
	if e.memoryFull() {
		v.refuse(GuardAlreadyActed, "more was done since the host was started than can be remembered")
		return
	}
	v.pass(GuardAlreadyActed, "not acted on before")
}
