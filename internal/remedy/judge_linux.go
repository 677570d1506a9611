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
// another refused, so the journal shows all that stood against an act.
func (e *Engine) judge(t *target, w *watched, h *hostSight, slots int, now time.Time) Verdicts {
	f := &t.finding
	v := e.judgeFinding(t, now)
	for i := range v {
		if v[i].Guard == GuardProtected && v[i].Pass {
			v[i].Reason, v[i].Pass = e.protected.socket(w.last.id.Local.Port(), w.last.id.Remote.Port())
		}
	}
	p := proof{unread: "not looked at without provenance"}
	if !v.RefusedBy(GuardProvenance) {
		p = e.host.prove(&f.Process, &w.key, &w.last.id, nil)
	}
	guardListener(&v, w, &p)
	e.guardTraffic(&v, t, w, &p, now)
	guardOwnWatch(&v, t, w, now)
	if why := firstOfTwo(p.unread, p.identity); why != "" {
		v.refuse(GuardIdentity, why)
	} else {
		v.pass(GuardIdentity, "process, inode, cookie and open file are the ones watched")
	}
	e.guardSole(&v, t, w, h, &p)
	e.guardLimits(&v, t, slots, now)
	guardBlast(&v, t, len(e.pendingOf(t)))
	e.guardOnce(&v, t, w)
	return v
}

func firstOfTwo(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func guardListener(v *Verdicts, w *watched, p *proof) {
	switch {
	case w.last.state == sockdiag.StateListen:
		v.refuse(GuardListener, "the socket listens")
	case p.listener != "":
		v.refuse(GuardListener, p.listener)
	case p.unread != "":
		v.refuse(GuardListener, "cannot ask the socket: "+p.unread)
	default:
		v.pass(GuardListener, "does not accept connections")
	}
}

func (e *Engine) guardTraffic(v *Verdicts, t *target, w *watched, p *proof, now time.Time) {
	reason, ok := e.traffic(t, w, p, now)
	v.add(GuardTraffic, ok, reason)
}

func (e *Engine) traffic(t *target, w *watched, p *proof, now time.Time) (string, bool) {
	if p.unread != "" {
		return "cannot ask the socket: " + p.unread, false
	}
	if !w.last.hasInfo {
		return "the kernel gives no byte counts", false
	}
	if why, moved := p.info.changed(&w.first); moved {
		return why + " since the watch began", false
	}
	if e.watches.isPool(w) {
		return "connections of this site were used again after a long idle time: a pool", false
	}
	wait := patience(&t.finding, t.policy)
	if idle := w.idle(now); idle < wait {
		return fmt.Sprintf("idle for %s, less than %s", idle.Round(time.Millisecond), wait), false
	}
	switch w.last.state {
	case sockdiag.StateCloseWait:
		return peerVerdict(w, t.policy, now)
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
		return "the tables of sockets could not be read as a whole", false
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

func (e *Engine) guardSole(v *Verdicts, t *target, w *watched, h *hostSight, p *proof) {
	switch {
	case p.kernelUser != "":
		v.refuse(GuardSoleHolder, p.kernelUser)
	case p.unread != "":
		v.refuse(GuardSoleHolder, "cannot ask the socket: "+p.unread)
	case nbdHolds(w.pid(t)):
		v.refuse(GuardSoleHolder, "the process serves a network block device")
	default:
		reason, ok := h.soleHolder(t.finding.Process.PID, w.key.fd, w.key.inode, w.last.uid, t.policy.SoleHolder, e.now())
		v.add(GuardSoleHolder, ok, reason)
	}
}

func (*watched) pid(t *target) int32 { return t.finding.Process.PID }

// guardLimits takes tokens; a refusal by another guard gives them back.
func (e *Engine) guardLimits(v *Verdicts, t *target, slots int, now time.Time) {
	if slots <= 0 {
		v.refuse(GuardLimits, fmt.Sprintf("at most %v of the %d sockets of the process in one pass", t.policy.PerPassFraction, t.sockets))
		return
	}
	if since := now.Sub(t.lastPass); !t.lastPass.IsZero() && since < e.set.Limits.Cooldown {
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
	case t.stopped != "":
		v.refuse(GuardBlastRadius, t.stopped)
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
