// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import "fmt"

// Audited says whether records of this type go into a logs pipeline. An
// intent does not: what becomes of it does.
func (t Type) Audited() bool {
	switch t {
	case TypeIntent, TypeMode, TypeStarted, TypeStopped:
		return false
	default:
		return true
	}
}

// News is signalled when records wait for the audit. It has room for one
// signal and is never closed.
func (e *Engine) News() <-chan struct{} { return e.news }

func (e *Engine) wakeAudit() {
	select {
	case e.news <- struct{}{}:
	default:
	}
}

// Pending returns records that were not delivered, oldest first, at most
// limit.
func (e *Engine) Pending(limit int) ([]Record, error) {
	if e.audited.CompareAndSwap(false, true) {
		e.journal.KeepUndelivered()
	}
	records, err := e.journal.After(e.journal.Cursor(), limit, true, func(r *Record) bool { return r.Type.Audited() })
	if err != nil {
		e.count(CountJournalErrors, "read", 1)
		return nil, fmt.Errorf("read journal: %w", err)
	}
	return records, nil
}

// Delivered moves the cursor of the audit.
func (e *Engine) Delivered(seq uint64) error {
	if err := e.journal.Delivered(seq); err != nil {
		e.count(CountJournalErrors, "cursor", 1)
		return err
	}
	return nil
}

// Records calls fn for records with a number of at least from, at most limit.
func (e *Engine) Records(from uint64, limit int, fn func(*Record) error) error {
	records, err := e.journal.After(max(from, 1)-1, limit, false, func(*Record) bool { return true })
	if err != nil {
		return err
	}
	for i := range records {
		if err := fn(&records[i]); err != nil {
			return err
		}
	}
	return nil
}
