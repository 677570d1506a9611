// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/remedy"
)

// TestSocketSharedWithAWorkerIsRefused: a worker process inherited the leaked
// sockets. shutdown acts on what both hold, so guard 7 refuses every one.
func TestSocketSharedWithAWorkerIsRefused(t *testing.T) {
	const leaked = 40
	w := newWorld(t)
	leaky := w.leaky("f-leaky", "--leak", "close_wait=100/s:40", "--use", "close_wait=5/s", "--share-after", "40")
	require.Eventually(t, func() bool { return len(w.truth(leaky).Workers) == 1 }, 20*time.Second, 20*time.Millisecond)
	worker := w.truth(leaky).Workers[0]

	cfg := w.config()
	// Its count does not climb any more, so it must be asked for.
	cfg.set("receivers::memguard::detail::include::executable", map[string]any{"match_type": "glob", "names": list(w.dir + "/*")})
	c := w.start(cfg)
	w.awaitEvent(leaky.PID, "memguard.leak.confirmed", 60*time.Second)
	refused := w.awaitEvent(leaky.PID, "memguard.remediation.refused", 30*time.Second)
	assert.Contains(t, refused.Text("memguard.remediation.guard"), "sole_holder", refused.Body)
	require.Never(t, func() bool { truth := w.truth(leaky); return truth.Count("close_wait") != leaked },
		4*time.Second, 200*time.Millisecond, "no socket is shut")
	require.NoError(t, c.Stop(15*time.Second))
	records := c.journal()
	assert.NotEmpty(t, refusedBy(records, remedy.GuardSoleHolder))
	assert.Empty(t, touched(records))
	assert.Empty(t, w.events(worker, "memguard.remediation.applied"), "nor in the worker")
}
