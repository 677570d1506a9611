// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/remedy"
)

// TestForeignPIDSpace: as in a container with the host's /proc but without
// hostPID (unshare -pf without --mount-proc). A pid that is read there names
// another process here, so every action is off, and that is said once.
func TestForeignPIDSpace(t *testing.T) {
	needRoot(t, "a new pid name space")
	w := newWorld(t)
	leaky := w.leaky("p-leaky", "--leak", "close_wait=20/s:40", "--use", "close_wait=5/s")
	w.attr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
	c := w.start(w.config())
	w.awaitEvent(leaky.PID, "memguard.leak.confirmed", 60*time.Second)
	require.Never(t, func() bool { truth := w.truth(leaky); return truth.Count("close_wait") != 40 },
		4*time.Second, 200*time.Millisecond, "nothing is touched")
	require.NoError(t, c.Stop(15*time.Second))
	assert.Empty(t, touched(c.journal()))
	assert.Equal(t, 1, strings.Count(c.Log(), "auto_fix is off"), "it is said once")
	assert.Equal(t, 1, strings.Count(c.Log(), "Process ids under root_path are not ours"), "and by the receiver too")
	modes := byType(c.journal(), remedy.TypeMode)
	require.NotEmpty(t, modes)
	assert.Contains(t, modes[0].Text, "not of our pid space")
}
