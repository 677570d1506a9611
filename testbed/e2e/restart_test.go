// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/remedy"
	"github.com/otel-memguard/memguard/testbed/rig"
)

// TestKilledInTheMiddleOfARepair: kill -9 while sockets are being shut. The
// journal says what was done, the next start finds out about what it was
// doing, and no socket is acted on twice.
func TestKilledInTheMiddleOfARepair(t *testing.T) {
	const leaked = 300
	w := newWorld(t)
	leaky := w.leaky("k-leaky", "--leak", fmt.Sprintf("close_wait=100/s:%d", leaked), "--use", "close_wait=5/s")
	cfg := w.config()
	first := w.start(cfg)
	shut := func() int { truth := w.truth(leaky); return truth.Count("close") }
	require.Eventually(t, func() bool { return shut() >= 5 }, 60*time.Second, 5*time.Millisecond, "the repair has begun")
	// Not between two batches: the journal is read until it holds intents
	// whose outcome is not there yet.
	open := false
	for deadline := time.Now().Add(10 * time.Second); !open && shut() < leaked/2 && time.Now().Before(deadline); {
		open = len(unfinished(first.journal())) > 0
	}
	first.Kill()
	atKill := shut()
	require.Less(t, atKill, leaked, "it was killed in the middle")
	records := first.journal()
	intents := byType(records, remedy.TypeIntent)
	assert.GreaterOrEqual(t, len(intents), atKill, "what was done is on disk: an intent comes before its act")
	t.Logf("killed with %d of %d shut; journal: %d intents, %d applied, %d verified, %d without an outcome", atKill, leaked,
		len(intents), len(byType(records, remedy.TypeApplied)), len(byType(records, remedy.TypeVerified)), len(unfinished(records)))

	said, err := w.memguard("journal", "--directory", first.state)
	require.NoError(t, err, said)
	assert.Contains(t, said, "intent", "the command line shows it while no collector runs")

	second := w.start(cfg)
	require.Eventually(t, func() bool { return shut() >= leaked-1 }, 90*time.Second, 100*time.Millisecond,
		"the rest is repaired after the restart")
	require.NoError(t, second.Stop(15*time.Second))
	records = second.journal()
	assert.Empty(t, unfinished(records), "every intent has an outcome")
	// An intent that the kill kept from being carried out is withdrawn, and its
	// socket may be acted on later. Carried out is each at most once.
	acts := map[uint64]int{}
	for _, r := range byType(records, remedy.TypeIntent) {
		acts[r.Object.Cookie]++
	}
	for _, r := range byType(records, remedy.TypeWithdrawn) {
		acts[r.Object.Cookie]--
	}
	for cookie, n := range acts {
		assert.LessOrEqual(t, n, 1, "socket with cookie %d is acted on once", cookie)
	}
	ended := 0
	for _, kind := range outcomes {
		of := byType(records, kind)
		ended += len(of)
		t.Logf("%d %s", len(of), kind)
	}
	assert.Equal(t, len(byType(records, remedy.TypeIntent)), ended, "each intent has one outcome")
	assert.Empty(t, byType(records, remedy.TypeFailed))
	assertOnce(t, w.sink.Events())
}

// assertOnce: no transition is told twice.
func assertOnce(t *testing.T, events []rig.Event) {
	t.Helper()
	seen := map[string]int{}
	for i := range events {
		if id := events[i].Text("memguard.event.id"); id != "" {
			seen[events[i].Name+" "+id]++
		}
	}
	for id, n := range seen {
		assert.Equal(t, 1, n, "event %s", id)
	}
}

// TestRestart: lives go on, a finding keeps its id, no event comes twice.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	leaky := w.leaky("r-leaky", "--leak", "close_wait=5/s", "--use", "close_wait=5/s")
	cfg := w.config()
	cfg.set("extensions::auto_fix::mode", "dry_run")
	first := w.start(cfg)
	found := w.awaitEvent(leaky.PID, "memguard.leak.confirmed", 60*time.Second)
	id := found.Text("memguard.leak.id")
	instance := found.Text("service.instance.id")
	require.NotEmpty(t, id)
	require.NotEmpty(t, instance)
	require.NoError(t, first.Stop(15*time.Second))

	second := w.start(cfg)
	label := `memguard_leak_id="` + id + `"`
	require.Eventually(t, func() bool {
		return len(lines(second.page(), "memguard_leak_status{", label, instance, `memguard_leak_state="confirmed"`)) == 1
	}, 15*time.Second, 100*time.Millisecond, "the finding stands after the restart, under its id")
	// Another kill: what was said before it is not said again.
	second.Kill()
	third := w.start(cfg)
	require.Eventually(t, func() bool { return len(lines(third.page(), "memguard_leak_status{", label)) == 1 },
		15*time.Second, 100*time.Millisecond)
	assert.Len(t, w.events(leaky.PID, "memguard.leak.confirmed"), 1)
	assertOnce(t, w.sink.Events())
	assert.Empty(t, touched(third.journal()), "dry_run touches nothing")
	truth := w.truth(leaky)
	assert.Zero(t, truth.Count("close"))
}
