// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// propose journals an object once, unless its watch began anew.
func (e *Engine) propose(t *target, w *watched, v Verdicts) {
	if w.proposed {
		return
	}
	r := e.about(TypeProposed, t, w)
	r.Guards = v
	r.Text = fmt.Sprintf("%s of descriptor %d, %s to %s in state %s", t.action, w.key.fd,
		w.last.id.Local, w.last.id.Remote, sockdiag.StateName(w.last.state))
	if e.note(r) {
		w.proposed = true
		e.count(CountProposed, string(t.action), 1)
	}
}

// refuse counts a refusal, and journals it as long as the process has not
// been refused too often.
func (e *Engine) refuse(t *target, w *watched, v Verdicts) {
	r := e.about(TypeRefused, t, w)
	r.Guards, r.Text, r.Time, r.Mode = v, v.String(), e.now(), e.inForce()
	if t.life.said.take(r, r.Time) {
		e.note(r)
	}
	for _, verdict := range v.Refused() {
		e.count(CountRefused, verdict.Name, 1)
	}
}

// rehearse is where dry_run ends.
func (e *Engine) rehearse(t *target, w *watched, more int) {
	t.rehearsed = true
	e.limits.giveBack(t.finding.Process.InstanceID, executableOf(&t.finding))
	r := e.about(TypeRehearsed, t, w)
	r.More = more
	r.Text = fmt.Sprintf("dry_run: would do %s on descriptor %d now, and would continue with %d more if verified", t.action, w.key.fd, more)
	e.note(r)
}

// awaitApproval is where approve waits for a person.
func (e *Engine) awaitApproval(t *target, batch []*watched, more int) {
	for range batch {
		e.limits.giveBack(t.finding.Process.InstanceID, executableOf(&t.finding))
	}
	r := e.about(TypeWaiting, t, batch[0])
	t.waiting, t.expires = r.ID, e.now().Add(e.set.ApprovalTimeout)
	r.More = more
	r.Text = fmt.Sprintf("%s waits for approval until %s", t.action, t.expires.UTC().Format(time.RFC3339))
	e.note(r)
}

// about begins a record about one object, or about the finding where w is nil.
func (e *Engine) about(typ Type, t *target, w *watched) *Record {
	r := &Record{
		Type: typ, Action: t.action, Finding: findingRef(&t.finding), Process: processRef(&t.finding.Process),
		ID: repairID(t, w),
	}
	if t.policy != nil {
		r.Policy = t.policy.Name
	}
	if w != nil {
		r.Object = &Object{
			FD: w.key.fd, Inode: w.key.inode, Cookie: w.key.cookie,
			Family: w.last.id.Family, Protocol: w.last.id.Protocol, Interface: w.last.id.Interface, Local: w.last.id.Local, Remote: w.last.id.Remote,
			State: sockdiag.StateName(w.last.state), Watched: w.idle(e.now()).Seconds(),
		}
	}
	return r
}

// repairID names one action on one object, or on a finding: the same at every
// pass and after a restart.
func repairID(t *target, w *watched) string {
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%s\x00%s\x00%s\x00", t.finding.Process.InstanceID, t.finding.ID, t.action)
	if w != nil {
		var buf [12]byte
		binary.BigEndian.PutUint64(buf[:], w.key.cookie)
		binary.BigEndian.PutUint32(buf[8:], uint32(w.key.fd))
		_, _ = sum.Write(buf[:])
	}
	return hex.EncodeToString(sum.Sum(nil)[:8])
}
