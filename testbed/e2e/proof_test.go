// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/remedy"
	"github.com/otel-memguard/memguard/testbed/load"
)

// TestProofIsFoundReportedAndRepaired is the main job: three processes, one
// of which leaks; the finding on the prometheus page and over OTLP, the
// repair by the kernel's and the owner's word, the others left alone.
func TestProofIsFoundReportedAndRepaired(t *testing.T) {
	w := newWorld(t)
	leaky := w.leaky("a-leaky", "--leak", "close_wait=5/s", "--use", "close_wait=5/s")
	fixed := w.leaky("a-fixed", "--leak", "close_wait=5/s", "--use", "close_wait=5/s", "--fixed")
	before := w.truth(leaky).Pool
	runner, err := load.New(load.Config{
		URL: leaky.URL("/work"), Workers: 2, Rate: 50, Duration: 2 * time.Minute, Timeout: 5 * time.Second, Count: 6000,
	})
	require.NoError(t, err)
	summary := make(chan load.Summary, 1)
	ctx, cancel := contextWithCancel(t)
	go func() { summary <- runner.Run(ctx) }()

	cfg := w.config()
	cfg.set("receivers::memguard::include::executable::names", list(w.dir+"/*", w.targets+"/upstream"))
	c := w.start(cfg)
	found := w.awaitEvent(leaky.PID, "memguard.leak.confirmed", 60*time.Second)
	assert.Equal(t, "proof", found.Text("memguard.leak.basis"))
	assert.Equal(t, "socket", found.Text("memguard.object.kind"))
	assert.Equal(t, w.hello.Closing, found.Text("memguard.leak.site"))
	assert.Equal(t, "60", found.Text("memguard.leak.time_scale"))
	assert.Contains(t, found.Body, "a-leaky")

	for _, pid := range []int{leaky.PID, fixed.PID, w.upstream.PID} {
		require.Eventually(t, func() bool {
			return len(lines(c.page(), "process_unix_file_descriptor_count{", pidLabel(pid))) == 1
		}, 10*time.Second, 100*time.Millisecond, "one line for process %d", pid)
	}
	require.Eventually(t, func() bool {
		return len(lines(c.page(), "memguard_leak_status{", pidLabel(leaky.PID), `memguard_leak_state="confirmed"`, `memguard_leak_basis="proof"`)) > 0
	}, 10*time.Second, 100*time.Millisecond, "a line for the finding")

	w.awaitEvent(leaky.PID, "memguard.remediation.verified", 30*time.Second)
	require.Eventually(t, func() bool { truth := w.truth(leaky); return truth.Count("close") >= 20 },
		40*time.Second, 200*time.Millisecond, "leaked sockets are shut, as their owner sees it")

	cancel()
	s := <-summary
	assert.Positive(t, s.OK)
	assert.Zero(t, s.Failed, "%+v", s)
	assert.Zero(t, s.Resets(), "%+v", s)
	require.NoError(t, leaky.CheckPool(t.Context()))
	require.NoError(t, fixed.CheckPool(t.Context()))
	after := w.truth(leaky).Pool
	require.Len(t, after, len(before))
	for i := range after {
		assert.Equal(t, before[i].Inode, after[i].Inode, "the pool keeps its sockets")
	}
	assert.Empty(t, w.events(fixed.PID, ""), "the fixed twin is silent")
	assert.Empty(t, w.events(w.upstream.PID, "memguard.leak.confirmed"), "and so is the upstream")
	assert.Empty(t, lines(c.page(), "memguard_leak_status{", pidLabel(fixed.PID), "} 1"))

	require.NoError(t, c.Stop(15*time.Second))
	truth := w.truth(leaky)
	verified := byType(c.journal(), remedy.TypeVerified)
	assert.LessOrEqual(t, len(verified), truth.Count("close"), "nothing is called repaired that is not")
	for i := range verified {
		assert.Equal(t, int32(leaky.PID), verified[i].Process.PID)
		assert.NotEmpty(t, verified[i].Freed, "the journal says what was freed")
	}
}

func pidLabel(pid int) string { return `process_pid="` + strconv.Itoa(pid) + `"` }
