// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package remedy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestKillSwitchIsNeverWrittenThroughALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stop := filepath.Join(dir, KillSwitchFile)
	other := filepath.Join(t.TempDir(), "of somebody else")
	k := NewKillSwitch(dir)

	require.NoError(t, os.Symlink(other, stop))
	require.NoError(t, ThrowKillSwitch(dir, "test"))
	assert.NoFileExists(t, other)
	_, thrown := k.Thrown()
	assert.True(t, thrown, "a link is as good as a file")
	require.NoError(t, ReleaseKillSwitch(dir))

	require.NoError(t, os.WriteFile(other, []byte("x"), 0o600))
	require.NoError(t, os.Link(other, stop))
	require.NoError(t, ThrowKillSwitch(dir, "test"))
	text, err := os.ReadFile(other)
	require.NoError(t, err)
	assert.Equal(t, "x", string(text))
	require.NoError(t, ReleaseKillSwitch(dir))

	require.NoError(t, unix.Mkfifo(stop, 0o600))
	require.NoError(t, ThrowKillSwitch(dir, "does not wait for a reader"))
	require.NoError(t, ReleaseKillSwitch(dir))
	_, thrown = k.Thrown()
	assert.False(t, thrown)
}

func TestKillSwitchInADirectoryOfOthersIsThrown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, CheckDirectory(dir))
	k := NewKillSwitch(dir)
	for _, mode := range []os.FileMode{0o770, 0o707, 0o777 | os.ModeSticky} {
		require.NoError(t, os.Chmod(dir, mode))
		require.ErrorContains(t, CheckDirectory(dir), "group or others may write")
		why, thrown := k.Thrown()
		assert.True(t, thrown)
		assert.Contains(t, why, "group or others may write")
	}
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, CheckDirectory(dir))
	if os.Geteuid() != 0 {
		t.Skip("needs root to give a directory away")
	}
	require.NoError(t, os.Chown(dir, 65534, 65534))
	require.ErrorContains(t, CheckDirectory(dir), "belongs to user 65534")
	_, thrown := k.Thrown()
	assert.True(t, thrown)
}
