// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func execute(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	out, err := execute(t, "--help")
	require.NoError(t, err)
	for _, name := range []string{"doctor", "status", "stop", "start", "journal", "version"} {
		assert.Contains(t, out, name)
	}
	out, err = execute(t, "version")
	require.NoError(t, err)
	assert.Equal(t, "memguard dev\n", out)
	_, err = execute(t, "journal", "extra")
	require.Error(t, err)
}

func TestStopAndStartWithoutACollector(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stop := filepath.Join(dir, "STOP")
	out, err := execute(t, "stop", "-d", dir, "--reason", "test")
	require.NoError(t, err)
	assert.Contains(t, out, stop)
	assert.FileExists(t, stop)
	out, err = execute(t, "start", "-d", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "no collector runs")
	assert.NoFileExists(t, stop)
	_, err = execute(t, "stop", "-d", filepath.Join(dir, "missing"))
	require.ErrorContains(t, err, "missing")
	_, err = execute(t, "status", "-d", dir)
	require.ErrorContains(t, err, "no collector with auto_fix runs")
}

func TestJournalErrors(t *testing.T) {
	t.Parallel()
	_, err := execute(t, "journal", "-d", t.TempDir())
	require.ErrorContains(t, err, "holds no journal")
	_, err = execute(t, "journal", "--format", "xml")
	require.ErrorContains(t, err, "--format must be text or json, got \"xml\"")
	_, err = execute(t, "journal", "--last", "-1")
	require.ErrorContains(t, err, "--last must not be negative")
}
