// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

// bench is an engine whose rounds the test turns by hand.
type bench struct {
	*Engine
	t *testing.T

	mu     sync.Mutex
	counts map[Counter]int64
	said   []string
}

const testIdle = 40 * time.Millisecond

// testPolicy names the test binary, which the victims run.
func testPolicy(t *testing.T) Policy {
	t.Helper()
	return Policy{
		Name: "test", Match: Match{Executables: []string{"remedy.test"}}, Actions: []Action{ActionSocketDown},
		MinIdle: testIdle, PerPassFraction: 1, SoleHolder: soleHolderHere(t),
	}
}

func testSettings(t *testing.T, mode Mode) Settings {
	t.Helper()
	return Settings{
		Mode: mode, Directory: t.TempDir(), Policies: []Policy{testPolicy(t)},
		Limits:        Limits{ProcessPerMinute: 1e6, ExecutablePerMinute: 1e6, TotalPerMinute: 1e6},
		VerifyTimeout: 200 * time.Millisecond,
	}
}

// needSight skips where nothing can be asked about other processes.
func needSight(t *testing.T) {
	t.Helper()
	if env := readEnvironment("/proc"); len(env.missing) > 0 {
		t.Skip("needs pidfd_getfd and kcmp to look into the victims:", env.missing)
	}
}

// soleHolderHere is the strictest rule that can be fulfilled on this host.
func soleHolderHere(t *testing.T) SoleHolder {
	t.Helper()
	h := (procfs{"/proc"}).lookForHolders(map[uint64]bool{}, time.Now())
	if len(h.partial)+len(h.narrow) > 0 || len(h.unread) > 0 {
		return SoleHolderSameUser
	}
	return SoleHolderHost
}

func newBench(t *testing.T, set Settings) *bench {
	t.Helper()
	b := &bench{t: t, counts: map[Counter]int64{}}
	set.Observer = Observer{
		Count: func(c Counter, _ string, n int64) { b.mu.Lock(); b.counts[c] += n; b.mu.Unlock() },
		Say:   func(_ Level, message string, _ ...any) { b.mu.Lock(); b.said = append(b.said, message); b.mu.Unlock() },
	}
	e, err := NewEngine(set)
	require.NoError(t, err)
	b.Engine = e
	require.NoError(t, e.open())
	e.recoverIntents()
	e.SetReady(true)
	t.Cleanup(func() { assert.NoError(t, e.closeAll()) })
	return b
}

// round proposes the finding, as leak_detect does at each batch, and turns
// the worker once, after the objects had time to be idle.
func (b *bench) round(f leak.Finding) {
	b.t.Helper()
	f.Time = time.Now()
	require.True(b.t, b.Propose(f))
	b.tick(b.t.Context())
	time.Sleep(testIdle + 10*time.Millisecond) // the idle time itself is what the guards measure
}

func (b *bench) records(types ...Type) []Record {
	b.t.Helper()
	var found []Record
	require.NoError(b.t, b.Records(1, 1e6, func(r *Record) error {
		for _, typ := range types {
			if r.Type == typ {
				found = append(found, *r)
			}
		}
		return nil
	}))
	return found
}

func (b *bench) counted() map[Counter]int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.counts)
}

func TestEnforceRepairsAndVerifies(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 7)
	b := newBench(t, testSettings(t, ModeEnforce))
	f := v.finding(u)
	for range 4 { // a look, then batches of 1, 2 and 4
		b.round(f)
	}
	assert.Zero(t, u.countStates(t, "08"), "judged from /proc/net/tcp")
	verified := b.records(TypeVerified)
	require.Len(t, verified, 7)
	for _, r := range verified {
		assert.Equal(t, "connection", r.Freed, "the owner never reads, so the descriptor stays")
		assert.Equal(t, "close_wait", r.Before)
	}
	assert.Len(t, b.records(TypeIntent), 7)
	applied := b.records(TypeApplied)
	assert.Len(t, applied, 7)
	for _, r := range applied {
		t.Logf("from the last look to the end of the act: %s", time.Duration(r.Window))
	}
	proposed := b.records(TypeProposed)
	require.Len(t, proposed, 7)
	assert.Len(t, proposed[0].Guards, 14, "every guard has a verdict")
	assert.EqualValues(t, 7, b.counted()[CountVerified])
	var batches []uint64
	for _, r := range b.records(TypeIntent) {
		batches = append(batches, r.Seq)
	}
	assert.Greater(t, batches[1]-batches[0], uint64(1), "the canary is verified before the next")
	b.round(f)
	assert.Len(t, b.records(TypeIntent), 7, "nothing is done twice")
}

func TestDestroyRepairsAndVerifies(t *testing.T) {
	needSight(t)
	set := testSettings(t, ModeEnforce)
	set.Policies[0].Actions = []Action{ActionSocketDestroy}
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 3)
	b := newBench(t, set)
	if _, ok := b.env.allows(ActionSocketDestroy); !ok {
		t.Skip("needs CAP_NET_ADMIN")
	}
	for range 3 {
		b.round(v.finding(u))
	}
	assert.Zero(t, u.countStates(t, "08"))
	assert.Len(t, b.records(TypeVerified), 3)
}

func TestDryRunIsEnforceUpToTheFirstAct(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 5)
	f := v.finding(u)

	dry := newBench(t, testSettings(t, ModeDryRun))
	dry.env.classified = false
	for range 4 {
		dry.round(f)
	}
	assert.Equal(t, 5, u.countStates(t, "08"), "nothing was touched")
	rehearsed := dry.records(TypeRehearsed)
	require.Len(t, rehearsed, 1, "once per finding")
	assert.Equal(t, 4, rehearsed[0].More)
	assert.Empty(t, dry.records(TypeIntent, TypeApplied, TypeVerified))

	enforce := newBench(t, testSettings(t, ModeEnforce))
	for range 2 {
		enforce.round(f)
	}
	a, b := dry.records(TypeProposed), enforce.records(TypeProposed)
	require.NotEmpty(t, b)
	require.Len(t, a, 1)
	assert.Equal(t, a[0].ID, b[0].ID)
	assert.Equal(t, a[0].Object.Cookie, b[0].Object.Cookie)
	for i, verdict := range a[0].Guards {
		assert.Equal(t, verdict.Guard, b[0].Guards[i].Guard)
		assert.Equal(t, verdict.Pass, b[0].Guards[i].Pass)
	}
}

func TestApproveWaitsAndExpires(t *testing.T) {
	needSight(t)
	set := testSettings(t, ModeApprove)
	set.ApprovalTimeout = 50 * time.Millisecond
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 2)
	b := newBench(t, set)
	for range 4 {
		b.round(v.finding(u))
	}
	assert.Equal(t, 2, u.countStates(t, "08"))
	require.Len(t, b.records(TypeWaiting), 1)
	require.Len(t, b.records(TypeExpired), 1)
	assert.Equal(t, b.records(TypeWaiting)[0].ID, b.records(TypeExpired)[0].ID)
	assert.Empty(t, b.records(TypeIntent))
}

func TestWithoutPoliciesThereIsNoticeOnly(t *testing.T) {
	set := testSettings(t, ModeEnforce)
	set.Policies = nil
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	b := newBench(t, set)
	for range 3 {
		b.round(v.finding(u))
	}
	proposed := b.records(TypeProposed)
	require.Len(t, proposed, 1)
	assert.Equal(t, ActionNotify, proposed[0].Action)
	assert.Equal(t, 1, u.countStates(t, "08"))
}
