// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestKillSwitch: `memguard stop` ends repairs in mid-pass, `memguard start`
// lets them go on, SIGUSR1 stops and never toggles.
func TestKillSwitch(t *testing.T) {
	const leaked = 300
	w := newWorld(t)
	leaky := w.leaky("x-leaky", "--leak", "close_wait=100/s:300", "--use", "close_wait=5/s")
	cfg := w.config()
	policy := cfg["extensions"].(map[string]any)["auto_fix"].(map[string]any)["policies"].([]any)[0].(map[string]any)
	policy["limits"] = map[string]any{"per_pass_fraction": 0.5, "max_batch": 4}
	c := w.start(cfg)
	shut := func() int { truth := w.truth(leaky); return truth.Count("close") }
	// One act may be under way when the switch is thrown.
	stands := func(why string) {
		before := shut()
		require.Less(t, before, leaked)
		require.Never(t, func() bool { return shut() > before+1 }, 3*time.Second, 100*time.Millisecond, why)
		assert.True(t, c.Alive())
	}
	goesOn := func(why string) {
		before := shut()
		require.Eventually(t, func() bool { return shut() > before+4 }, 30*time.Second, 50*time.Millisecond, why)
	}
	goesOn("repairs have begun")

	said, err := w.memguard("stop", "--directory", c.state)
	require.NoError(t, err, said)
	stands("memguard stop")
	said, err = w.memguard("start", "--directory", c.state)
	require.NoError(t, err, said)
	goesOn("memguard start")

	require.NoError(t, c.Signal(syscall.SIGUSR1))
	last := -1 // the count must stand for two passes
	require.Eventually(t, func() bool {
		now := shut()
		stood := now == last
		last = now
		return stood
	}, 15*time.Second, time.Second)
	stands("SIGUSR1")
	require.NoError(t, c.Signal(syscall.SIGUSR1))
	stands("SIGUSR1 again does not toggle")

	// No collector runs: the file does it, and holds at the next start.
	require.NoError(t, c.Stop(15*time.Second))
	said, err = w.memguard("stop", "--directory", c.state)
	require.NoError(t, err, said)
	c = w.start(cfg)
	stands("stopped before the start")
}
