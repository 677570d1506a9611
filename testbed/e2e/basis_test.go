// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func contextWithCancel(t *testing.T) (context.Context, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	return ctx, cancel
}

// TestSurvival: a site that closes most of its files and leaks some. The
// leaked ones outlive what is normal there. A file that is leaked looks like
// one that is kept, so it is confirmed only when the run is max_fill_time old:
// the test makes that half an hour, which is 30 s at its time scale.
func TestSurvival(t *testing.T) {
	w := newWorld(t)
	leaky := w.leaky("s-leaky", "--leak", "file=5/s", "--use", "file=50/s", "--hold", "300ms")
	fixed := w.leaky("s-fixed", "--leak", "file=5/s", "--use", "file=50/s", "--hold", "300ms", "--fixed")
	cfg := w.config()
	cfg.set("processors::leak_detect::max_fill_time", "30m")
	w.start(cfg)
	found := w.awaitConfirmed(leaky.PID, "survival", 90*time.Second)
	assert.Equal(t, "file", found.Text("memguard.object.kind"))
	assert.Contains(t, found.Text("memguard.leak.site"), "s-leaky-data")
	assert.Empty(t, w.events(fixed.PID, "memguard.leak.confirmed"))
	assert.Empty(t, w.events(leaky.PID, "memguard.remediation.applied"), "files are never acted on")
}

// TestTrend: a site at which nothing is ever closed gives no evidence but its
// growth. All waits are divided by 2000, so a day is 43 seconds.
func TestTrend(t *testing.T) {
	w := newWorld(t)
	leaky := w.leaky("t-leaky", "--leak", "file=20/s")
	fixed := w.leaky("t-fixed", "--leak", "file=20/s", "--fixed")
	cfg := w.config()
	cfg.set("receivers::memguard::collection_interval", "50ms")
	cfg.set("processors::leak_detect::time_scale", 2000)
	cfg.set("processors::leak_detect::max_fill_time", "2h")
	w.start(cfg)
	found := w.awaitConfirmed(leaky.PID, "trend", 120*time.Second)
	assert.Equal(t, "2000", found.Text("memguard.leak.time_scale"))
	assert.NotEmpty(t, found.Text("memguard.leak.growth.objects"), "the rate is said")
	assert.Empty(t, w.events(fixed.PID, "memguard.leak.confirmed"))
}
