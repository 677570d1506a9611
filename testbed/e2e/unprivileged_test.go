// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/remedy"
	"github.com/otel-memguard/memguard/testbed/rig"
)

const nobody = 65534

// asNobody lets all that the world starts from here on run as nobody, with no
// capability. The collector is copied to where nobody can run it.
func (w *world) asNobody() {
	w.t.Helper()
	needRoot(w.t, "starting processes as another user")
	copied := filepath.Join(w.dir, "otelcol-memguard")
	require.NoError(w.t, rig.CopyExecutable(w.binary, copied))
	w.binary = copied
	w.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
}

// TestUnprivileged: what can be seen without privilege is reported, what
// cannot is counted and said once, and auto_fix falls back and says why.
func TestUnprivileged(t *testing.T) {
	w := newWorld(t)
	root := w.leaky("u-root")
	w.asNobody()
	own := w.leaky("u-leaky", "--leak", "close_wait=5/s", "--use", "close_wait=5/s")
	cfg := w.config()
	cfg.set("receivers::memguard::include", map[string]any{})
	policy := cfg["extensions"].(map[string]any)["auto_fix"].(map[string]any)["policies"].([]any)[0].(map[string]any)
	policy["sole_holder"] = "host"
	c := w.start(cfg)

	w.awaitEvent(own.PID, "memguard.leak.confirmed", 90*time.Second)
	require.Eventually(t, func() bool {
		return len(lines(c.page(), "process_unix_file_descriptor_count{", pidLabel(root.PID))) == 1
	}, 10*time.Second, 100*time.Millisecond, "the count of another user's descriptors is public")
	assert.Empty(t, lines(c.page(), "memguard_process_descriptor_count{", pidLabel(root.PID)), "their kinds are not")
	assert.NotEmpty(t, lines(c.page(), "memguard_process_descriptor_count{", pidLabel(own.PID)))
	assert.NotEmpty(t, lines(c.own(), "otelcol_memguard", "permission_denied"), "what cannot be read is counted")

	require.Never(t, func() bool { truth := w.truth(own); return truth.Count("close") > 0 },
		3*time.Second, 200*time.Millisecond, "nothing is touched")
	require.NoError(t, c.Stop(15*time.Second))
	records := c.journal()
	assert.Empty(t, touched(records))
	modes := byType(records, remedy.TypeMode)
	require.NotEmpty(t, modes)
	assert.Contains(t, modes[0].Text, "falls back from enforce to dry_run")
	assert.Contains(t, modes[0].Text, "CAP_SYS_PTRACE")
	assert.Equal(t, 1, strings.Count(c.Log(), "falls back to a weaker mode"), "the fall back is said once")
	assert.NotContains(t, c.Log(), "\terror\t")
	assert.Equal(t, 1, strings.Count(c.Log(), "cannot be read in full"), "what cannot be seen is said once")
	t.Logf("what it said:\n%s", grep(c.Log(), "falls back", "cannot be read in full"))
}

// TestUnprivilegedRepair: the same user's processes can be repaired without
// any capability, where the policy says that same_user is enough.
func TestUnprivilegedRepair(t *testing.T) {
	w := newWorld(t)
	w.asNobody()
	own := w.leaky("n-leaky", "--leak", "close_wait=5/s", "--use", "close_wait=5/s")
	c := w.start(w.config())
	w.awaitEvent(own.PID, "memguard.remediation.verified", 90*time.Second)
	require.Eventually(t, func() bool { truth := w.truth(own); return truth.Count("close") >= 5 },
		30*time.Second, 100*time.Millisecond)
	require.NoError(t, c.Stop(15*time.Second))
	info, err := os.Stat(c.state)
	require.NoError(t, err)
	assert.Equal(t, uint32(nobody), info.Sys().(*syscall.Stat_t).Uid)
}

func grep(text string, parts ...string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		for _, part := range parts {
			if strings.Contains(line, part) {
				out = append(out, line)
				break
			}
		}
	}
	return strings.Join(out, "\n")
}
