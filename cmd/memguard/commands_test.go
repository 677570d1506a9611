// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"io"
	"net"
	"os"
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
	require.ErrorContains(t, err, "is it the directory of auto_fix?")
	assert.Equal(t, exitNoCollector, exitCode(err))
	assert.Contains(t, out, stop)
	assert.FileExists(t, stop)
	out, err = execute(t, "start", "-d", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "no collector runs")
	assert.NoFileExists(t, stop)
	_, err = execute(t, "stop", "-d", filepath.Join(dir, "missing"))
	require.ErrorContains(t, err, "missing")
	assert.Equal(t, 1, exitCode(err))

	// A collector was here, and has ended.
	lock := filepath.Join(dir, "journal", "lock")
	require.NoError(t, os.MkdirAll(filepath.Dir(lock), 0o700))
	require.NoError(t, os.WriteFile(lock, nil, 0o600))
	out, err = execute(t, "stop", "-d", dir)
	require.NoError(t, err)
	assert.Contains(t, out, "the next one will not act")
	assert.FileExists(t, stop)
	_, err = execute(t, "status", "-d", dir)
	require.ErrorContains(t, err, "no collector with auto_fix runs")
}

func TestStopDoesNotWaitForAMuteCollector(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "unix", filepath.Join(dir, "control.sock"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, listener.Close()) })
	inPlace := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			inPlace <- err
			return
		}
		_, err = os.Stat(filepath.Join(dir, "STOP")) // before the collector is even asked
		inPlace <- err
		_, _ = io.Copy(io.Discard, conn) // until the client gives up
		_ = conn.Close()
	}()
	out, err := execute(t, "stop", "-d", dir)
	require.NoError(t, err)
	require.NoError(t, <-inPlace)
	assert.Contains(t, out, errMute.Error())
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
