// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/remedy"
)

func TestJournalFromTheFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j, err := remedy.OpenJournal(filepath.Join(dir, remedy.JournalDirectory), remedy.JournalOptions{})
	require.NoError(t, err)
	for _, text := range []string{"first", "second \x1b[31m"} {
		require.NoError(t, j.Append(&remedy.Record{
			Type: remedy.TypeRefused, Text: text, Process: &remedy.ProcessRef{PID: 7, ExecutableName: "leaky"},
			Guards: remedy.Verdicts{{Guard: remedy.GuardSoleHolder, Name: "sole_holder", Reason: "shared"}},
		}))
	}
	require.NoError(t, j.Close())
	out, err := execute(t, "journal", "-d", dir, "--guards", "--last", "1")
	require.NoError(t, err)
	assert.Contains(t, out, "leaky[7]")
	assert.Contains(t, out, "REFUSE shared")
	assert.NotContains(t, out, "first")
	assert.NotContains(t, out, "\x1b", "a watched program's text does not write to the terminal")
	out, err = execute(t, "journal", "-d", dir, "--format", "json")
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(out, "\n"))
}

func TestAgainstARunningCollector(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := remedy.NewEngine(remedy.Settings{Directory: dir})
	require.NoError(t, err)
	require.NoError(t, e.Start())
	t.Cleanup(func() { assert.NoError(t, e.Shutdown(context.Background())) })
	out, err := execute(t, "stop", "-d", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "the collector has thrown its kill switch")
	out, err = execute(t, "status", "-d", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "kill switch thrown")
	out, err = execute(t, "journal", "-d", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "kill switch thrown by user")
	out, err = execute(t, "start", "-d", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "released")
}
