// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/remedy"
)

// journal reads the segments, as the command line does when no collector
// runs.
func (c *collector) journal() []remedy.Record {
	c.w.t.Helper()
	var records []remedy.Record
	_, err := remedy.ReadJournal(filepath.Join(c.state, remedy.JournalDirectory), 0, func(r *remedy.Record) { records = append(records, *r) })
	require.NoError(c.w.t, err)
	return records
}

// byType returns the records of one type.
func byType(records []remedy.Record, kind remedy.Type) []remedy.Record {
	var out []remedy.Record
	for i := range records {
		if records[i].Type == kind {
			out = append(out, records[i])
		}
	}
	return out
}

// touched returns the records of acts: an intent, or anything after one.
func touched(records []remedy.Record) []remedy.Record {
	var out []remedy.Record
	for _, kind := range []remedy.Type{
		remedy.TypeIntent, remedy.TypeApplied, remedy.TypeVerified, remedy.TypeFailed, remedy.TypeRaced, remedy.TypeUnknown,
	} {
		out = append(out, byType(records, kind)...)
	}
	return out
}

// outcomes are the types that end an intent.
var outcomes = []remedy.Type{
	remedy.TypeVerified, remedy.TypeFailed, remedy.TypeRaced, remedy.TypeUnknown, remedy.TypeWithdrawn,
}

// unfinished returns the ids of intents without an outcome.
func unfinished(records []remedy.Record) map[string]bool {
	open := map[string]bool{}
	for i := range records {
		switch {
		case records[i].Type == remedy.TypeIntent:
			open[records[i].ID] = true
		case slices.Contains(outcomes, records[i].Type):
			delete(open, records[i].ID)
		}
	}
	return open
}

// refusedBy returns the refusals in which a guard took part.
func refusedBy(records []remedy.Record, guard remedy.Guard) []remedy.Record {
	var out []remedy.Record
	for i := range records {
		if records[i].Type == remedy.TypeRefused && records[i].Guards.RefusedBy(guard) {
			out = append(out, records[i])
		}
	}
	return out
}

// memguard runs the command line beside the collector under test.
func (w *world) memguard(args ...string) (string, error) {
	w.t.Helper()
	path := filepath.Join(filepath.Dir(w.binary), "memguard")
	if _, err := exec.LookPath(path); err != nil {
		w.t.Skipf("no command line to test: %v", err)
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, args...).CombinedOutput()
	return string(out), err
}
