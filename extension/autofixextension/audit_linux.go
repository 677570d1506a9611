// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"context"
	"fmt"

	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/remedy"
)

// Attributes of audit records beside those of the vocabulary.
const (
	attrRecordType  = "memguard.remediation.record"
	attrPolicy      = "memguard.remediation.policy"
	attrOutcome     = "memguard.remediation.outcome"
	attrFreed       = "memguard.remediation.freed"
	attrMore        = "memguard.remediation.would_continue"
	attrWindow      = "memguard.remediation.window"
	attrDescriptor  = "memguard.object.descriptor"
	attrInode       = "memguard.object.inode"
	attrPeerAddress = "network.peer.address"
	attrPeerPort    = "network.peer.port"
	attrLocalAddr   = "network.local.address"
	attrLocalPort   = "network.local.port"
)

// News implements leak.AuditSource.
func (a *autoFix) News() <-chan struct{} { return a.engine.News() }

// Pending implements leak.AuditSource.
func (a *autoFix) Pending(_ context.Context, limit int) ([]leak.AuditRecord, error) {
	records, err := a.engine.Pending(limit)
	if err != nil {
		return nil, err
	}
	out := make([]leak.AuditRecord, len(records))
	for i := range records {
		out[i] = auditRecord(&records[i])
	}
	return out, nil
}

// Delivered implements leak.AuditSource.
func (a *autoFix) Delivered(_ context.Context, seq uint64) error { return a.engine.Delivered(seq) }

func auditRecord(r *remedy.Record) leak.AuditRecord {
	event, severity := eventOf(r.Type)
	out := leak.AuditRecord{
		Seq: r.Seq, Time: r.Time, Event: event, Severity: severity, Body: bodyOf(r),
		Attributes: map[string]any{
			attrRecordType: string(r.Type), leak.AttrRemediationMode: string(r.Mode),
		},
	}
	put := func(key, value string) {
		if value != "" {
			out.Attributes[key] = value
		}
	}
	put(leak.AttrRemediationID, r.ID)
	put(leak.AttrRemediationAction, string(r.Action))
	put(attrPolicy, r.Policy)
	put(attrFreed, r.Freed)
	if r.Type != remedy.TypeRefused {
		put(leak.AttrRemediationReason, r.Text)
	}
	if f := r.Finding; f != nil {
		put(leak.AttrLeakID, f.ID)
		put(leak.AttrObjectKind, string(f.Kind))
		put(leak.AttrSite, f.Site)
		put(leak.AttrLeakBasis, string(f.Basis))
	}
	if p := r.Process; p != nil {
		out.Process = leak.Process{
			HostID: p.HostID, BootID: p.BootID, InstanceID: p.InstanceID, PID: p.PID, CreationTime: p.CreationTime,
			ExecutableName: p.ExecutableName, ExecutablePath: p.ExecutablePath, Owner: p.Owner,
		}
	}
	objectAttributes(r, out.Attributes)
	guardAttributes(r, out.Attributes)
	return out
}

func objectAttributes(r *remedy.Record, attrs map[string]any) {
	if r.More > 0 {
		attrs[attrMore] = int64(r.More)
	}
	if r.Window > 0 {
		attrs[attrWindow] = float64(r.Window) / 1e9
	}
	o := r.Object
	if o == nil {
		return
	}
	attrs[attrDescriptor] = int64(o.FD)
	attrs[attrInode] = int64(o.Inode)
	attrs[attrLocalAddr], attrs[attrLocalPort] = o.Local.Addr().String(), int64(o.Local.Port())
	attrs[attrPeerAddress], attrs[attrPeerPort] = o.Remote.Addr().String(), int64(o.Remote.Port())
	attrs[leak.AttrConnectionState] = o.State
}

// guardAttributes gives each verdict as an attribute, and of a refusal the
// first guard that refused.
func guardAttributes(r *remedy.Record, attrs map[string]any) {
	for _, v := range r.Guards {
		verdict := "pass"
		if !v.Pass {
			verdict = "refuse: " + v.Reason
		}
		attrs[leak.AttrGuard+"."+v.Name] = verdict
	}
	if refused := r.Guards.Refused(); len(refused) > 0 {
		attrs[leak.AttrGuard] = refused[0].Name
		attrs[leak.AttrRemediationReason] = r.Guards.String()
	}
	switch r.Type {
	case remedy.TypeVerified, remedy.TypeFailed, remedy.TypeRaced, remedy.TypeUnknown, remedy.TypeWithdrawn:
		attrs[attrOutcome] = string(r.Type)
	default:
	}
}

func eventOf(t remedy.Type) (string, plog.SeverityNumber) {
	switch t {
	case remedy.TypeRefused, remedy.TypeExpired, remedy.TypeWithdrawn:
		return leak.EventRemediationRefused, plog.SeverityNumberInfo
	case remedy.TypeApplied:
		return leak.EventRemediationApplied, plog.SeverityNumberInfo
	case remedy.TypeVerified:
		return leak.EventRemediationVerified, plog.SeverityNumberInfo
	case remedy.TypeFailed:
		return leak.EventRemediationFailed, plog.SeverityNumberError
	case remedy.TypeRaced, remedy.TypeUnknown:
		return leak.EventRemediationFailed, plog.SeverityNumberWarn
	default:
		return leak.EventRemediationProposed, plog.SeverityNumberInfo
	}
}

func bodyOf(r *remedy.Record) string {
	who := ""
	if p := r.Process; p != nil {
		who = fmt.Sprintf("%s (pid %d): ", p.ExecutableName, p.PID)
	}
	text := r.Text
	if text == "" && r.Object != nil {
		text = fmt.Sprintf("%s of descriptor %d, %s to %s", r.Action, r.Object.FD, r.Object.Local, r.Object.Remote)
	}
	return who + string(r.Type) + ": " + text
}
