// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/pdata/plog"
)

// Remediator is what leak_detect looks for behind its `remediation` id.
type Remediator interface {
	// Propose hands over the newest sight of a finding, at every batch in which
	// the finding stands, and once more when it closes. It never blocks and
	// keeps no reference that the caller may change. False means that the
	// remediator's queue was full; the remediator counts that.
	Propose(f Finding) bool
}

// AuditSource is what the receiver looks for behind its `audit` id: outcomes
// of remediation on their way into a logs pipeline.
type AuditSource interface {
	// News is signalled when records wait. It has a buffer of one and is
	// never closed.
	News() <-chan struct{}
	// Pending returns up to limit records after the delivered cursor, oldest
	// first. It does not move the cursor.
	Pending(ctx context.Context, limit int) ([]AuditRecord, error)
	// Delivered moves the cursor to seq, once the pipeline took the records.
	Delivered(ctx context.Context, seq uint64) error
}

// AuditRecord is one journaled decision or outcome, as an event.
type AuditRecord struct {
	Seq      uint64
	Time     time.Time
	Event    string // one of the memguard.remediation.* names
	Severity plog.SeverityNumber
	Body     string
	Process  Process
	// Attributes beside those of the event name: guard verdicts, action, ids.
	// Values are string, bool, int64 or float64.
	Attributes map[string]any
}
