// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// Each test here shows one guard refuse, with real sockets of a real process,
// and looks at /proc/net/tcp whether they are untouched. README.md lists them.

// refusal runs the rounds and returns the verdicts of the first refusal.
func (b *bench) refusal(f leak.Finding, rounds int) Verdicts {
	b.t.Helper()
	for range rounds {
		b.round(f)
	}
	refused := b.records(TypeRefused)
	require.NotEmpty(b.t, refused, "nothing was refused")
	assert.Positive(b.t, b.counted()[CountRefused])
	return refused[0].Guards
}

// onlyRefusedBy asserts that this very guard refused and no other did.
func onlyRefusedBy(t *testing.T, v Verdicts, g Guard) {
	t.Helper()
	require.True(t, v.RefusedBy(g), "%s", v)
	assert.Len(t, v.Refused(), 1, "%s", v)
}

func TestGuard00ForeignFinding(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	ours := v.finding(u)
	cases := map[string]func(f *leak.Finding){
		"no provenance":        func(f *leak.Finding) { f.Provenance = nil },
		"receiver elsewhere":   func(f *leak.Finding) { f.Provenance.HostID = "another" },
		"receiver before boot": func(f *leak.Finding) { f.Provenance.BootID = "another" },
		"process elsewhere":    func(f *leak.Finding) { f.Process.HostID = "another" },
		"foreign pid space":    func(f *leak.Finding) { f.Provenance.OwnPIDs = false },
		"no identity":          func(f *leak.Finding) { f.Process.InstanceID = "" },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, testSettings(t, ModeEnforce))
			f := ours
			p := *ours.Provenance
			f.Provenance = &p
			spoil(&f)
			got := b.refusal(f, 3)
			assert.True(t, got.RefusedBy(GuardProvenance), "%s", got)
			assert.Empty(t, b.watches.objects, "not even looked into")
			assert.Empty(t, b.records(TypeProposed, TypeIntent))
		})
	}
	assert.Equal(t, 1, u.countStates(t, "08"))
}

func TestGuard01KillSwitchFile(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 2)
	set := testSettings(t, ModeEnforce)
	require.NoError(t, ThrowKillSwitch(set.Directory, "test"))
	b := newBench(t, set)
	onlyRefusedBy(t, b.refusal(v.finding(u), 3), GuardKillSwitch)
	assert.Equal(t, 2, u.countStates(t, "08"))
	require.NoError(t, b.Resume("test"))
	for range 3 {
		b.round(v.finding(u))
	}
	assert.Zero(t, u.countStates(t, "08"), "released, it acts")
}

func TestGuard01KillSwitchThrownInMidPass(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 7)
	b := newBench(t, testSettings(t, ModeEnforce))
	acts := 0
	b.hook = func(stage string) {
		if stage == "acted" {
			if acts++; acts == 5 { // the second of the batch of four
				assert.NoError(t, b.Stop("test"))
			}
		}
	}
	f := v.finding(u)
	for range 6 {
		b.round(f)
	}
	assert.Equal(t, 5, acts, "nothing after it")
	assert.Equal(t, 2, u.countStates(t, "08"))
	assert.Len(t, b.records(TypeVerified), 5)
	assert.Len(t, b.records(TypeWithdrawn), 2, "the rest of the batch is accounted for")
	onlyKill := b.records(TypeRefused)
	require.NotEmpty(t, onlyKill)
	assert.True(t, onlyKill[0].Guards.RefusedBy(GuardKillSwitch))
	_, err := os.Stat(filepath.Join(b.set.Directory, KillSwitchFile))
	assert.NoError(t, err, "it outlives the collector")
}

func TestGuard01UnreadableCountsAsThrown(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, thrown := NewKillSwitch(dir).Thrown()
	assert.False(t, thrown)
	_, thrown = NewKillSwitch(filepath.Join(dir, "missing")).Thrown()
	assert.True(t, thrown, "a missing directory")
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, thrown = NewKillSwitch(file).Thrown()
	assert.True(t, thrown, "no directory")
	require.NoError(t, os.Symlink("nowhere", filepath.Join(dir, KillSwitchFile)))
	_, thrown = NewKillSwitch(dir).Thrown()
	assert.True(t, thrown, "a dangling link in its place")
	k := NewKillSwitch(filepath.Join(dir, "missing"))
	require.Error(t, k.Stop("test"), "cannot be written")
	why, thrown := k.Thrown()
	assert.True(t, thrown)
	assert.Equal(t, "test", why)
}

func TestGuard02Protected(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	port := uint16(u.port())
	cases := map[string]struct {
		protected Protected
		objects   bool
	}{
		"name":        {protected: Protected{Executables: []string{"remedy.test"}}},
		"glob":        {protected: Protected{Executables: []string{"remedy.*"}}},
		"path":        {protected: Protected{Executables: []string{"/*/remedy.test"}}},
		"remote port": {protected: Protected{Ports: []uint16{port}}, objects: true},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			set := testSettings(t, ModeEnforce)
			set.Protected = c.protected
			b := newBench(t, set)
			onlyRefusedBy(t, b.refusal(v.finding(u), 3), GuardProtected)
			assert.Equal(t, c.objects, len(b.watches.objects) > 0, "a protected process is not looked into")
		})
	}
	t.Run("own ancestors", func(t *testing.T) {
		b := newBench(t, testSettings(t, ModeEnforce))
		f := v.finding(u)
		f.Process.PID = int32(os.Getppid())
		assert.True(t, b.refusal(f, 1).RefusedBy(GuardProtected))
	})
	assert.Equal(t, 1, u.countStates(t, "08"))
}

func TestGuard03Listener(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	fd := v.leak(u, 1)[0]
	b := newBench(t, testSettings(t, ModeEnforce))
	f := v.finding(u)
	b.round(f)
	tg, w := b.only(f)
	// The very socket listens between the look and the act.
	v.do(order{Do: "listen again", FD: fd})
	verdicts := b.judge(tg, w, b.host.lookForHolders(map[uint64]bool{w.key.inode: true}, time.Now()), 1, time.Now())
	assert.True(t, verdicts.RefusedBy(GuardListener), "%s", verdicts)
	a := b.host.shutdown(&f.Process, w, nobodyAsks)
	assert.False(t, a.done)
	assert.Equal(t, GuardListener, a.refused.Guard)
	// The descriptor's number is given to another one.
	v.do(order{Do: "close", FD: fd})
	listener := v.do(order{Do: "listen"})
	require.Equal(t, fd, listener.FD)
	verdicts = b.judge(tg, w, b.host.lookForHolders(map[uint64]bool{w.key.inode: true}, time.Now()), 1, time.Now())
	assert.True(t, verdicts.RefusedBy(GuardIdentity), "%s", verdicts)
	a = b.host.shutdown(&f.Process, w, nobodyAsks)
	assert.False(t, a.done)
	again, err := dial(listener.Port)
	require.NoError(t, err, "it still accepts")
	closeFD(t, again)
}

func TestGuard04Traffic(t *testing.T) {
	needSight(t)
	t.Run("a byte before the act", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		fd := v.do(order{Do: "connect", Port: u.port(), Count: 1}).FDs[0]
		conn := <-u.conns
		set := testSettings(t, ModeEnforce)
		set.Policies[0].Peers = []string{"127.0.0.1:*"}
		b := newBench(t, set)
		b.hook = func(stage string) {
			if stage == "act" {
				v.do(order{Do: "write", FD: fd})
			}
		}
		f := v.finding(u)
		for range 3 {
			b.round(f)
		}
		require.Len(t, b.records(TypeRaced), 1)
		assert.Empty(t, b.records(TypeApplied))
		_, err := conn.Write([]byte("alive"))
		require.NoError(t, err)
		assert.Equal(t, 1, u.countStates(t, "01"))
		require.NoError(t, conn.Close())
	})
	t.Run("established without a named peer", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.do(order{Do: "connect", Port: u.port(), Count: 1})
		b := newBench(t, testSettings(t, ModeEnforce))
		onlyRefusedBy(t, b.refusal(v.finding(u), 3), GuardTraffic)
		assert.Equal(t, 1, u.countStates(t, "01"))
	})
	t.Run("half-close with a living peer", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.do(order{Do: "connect", Port: u.port(), Count: 1})
		conn := <-u.conns
		require.NoError(t, conn.(interface{ CloseWrite() error }).CloseWrite())
		v.awaitStates(u, "08", 1)
		b := newBench(t, testSettings(t, ModeEnforce))
		onlyRefusedBy(t, b.refusal(v.finding(u), 3), GuardTraffic)
		assert.Equal(t, 1, u.countStates(t, "08"))
		require.NoError(t, conn.Close())
	})
	t.Run("a pool", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		fds := v.do(order{Do: "connect", Port: u.port(), Count: 2}).FDs
		set := testSettings(t, ModeEnforce)
		set.Policies[0].Peers = []string{"127.0.0.1:*"}
		set.Limits.Cooldown = time.Hour
		b := newBench(t, set)
		f := v.finding(u)
		f.LifetimeP99 = 0.05 // patience outlasts the idle gap
		b.round(f)
		v.do(order{Do: "write", FD: fds[0]})
		b.round(f)
		time.Sleep(550 * time.Millisecond) // ten times the lifetime
		verdicts := b.refusal(f, 1)
		onlyRefusedBy(t, verdicts, GuardTraffic)
		assert.Contains(t, verdicts.String(), "pool")
		assert.Equal(t, 2, u.countStates(t, "01"))
	})
}

func TestGuard05OwnWatch(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	set := testSettings(t, ModeEnforce)
	set.Policies[0].MinIdle = time.Hour
	b := newBench(t, set)
	f := v.finding(u)
	for range 3 {
		b.round(f)
	}
	assert.Empty(t, b.records(TypeProposed), "not old enough to be put forward")
	tg, w := b.only(f)
	verdicts := b.judge(tg, w, b.host.lookForHolders(map[uint64]bool{w.key.inode: true}, time.Now()), 1, time.Now())
	assert.True(t, verdicts.RefusedBy(GuardOwnWatch), "%s", verdicts)
	assert.Equal(t, 1, u.countStates(t, "08"))

	f.LifetimeP99 = 3600
	assert.Equal(t, 10*time.Hour, patience(&f, &set.Policies[0]))
	f.LifetimeP99 = math.Inf(1)
	assert.Positive(t, patience(&f, &set.Policies[0]))
}

func TestGuard06Identity(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	fds := v.leak(u, 2)
	t.Run("another life", func(t *testing.T) {
		b := newBench(t, testSettings(t, ModeEnforce))
		f := v.finding(u)
		id := leak.Identity{HostID: f.Process.HostID, BootID: f.Process.BootID, PID: f.Process.PID, StartTicks: 1}
		f.Process.InstanceID = id.InstanceID()
		onlyRefusedBy(t, b.refusal(f, 3), GuardIdentity)
	})
	t.Run("another socket behind the descriptor", func(t *testing.T) {
		b := newBench(t, testSettings(t, ModeEnforce))
		f := v.finding(u)
		b.round(f)
		b.hook = func(stage string) {
			if stage == "intents" { // between the intent and the act
				for _, fd := range fds {
					v.do(order{Do: "close", FD: fd})
				}
				v.do(order{Do: "connect", Port: u.port(), Count: 2})
			}
		}
		b.round(f)
		assert.Empty(t, b.records(TypeApplied))
		withdrawn := b.records(TypeWithdrawn)
		require.Len(t, withdrawn, 1)
		assert.True(t, b.records(TypeRefused)[0].Guards.RefusedBy(GuardIdentity) ||
			b.records(TypeRefused)[0].Guards.RefusedBy(GuardSoleHolder))
		assert.Equal(t, 2, u.countStates(t, "01"), "the new connections live")
	})
	t.Run("wrong cookie", func(t *testing.T) {
		b := newBench(t, testSettings(t, ModeEnforce))
		f := v.finding(u)
		fd := v.leak(u, 1)[0]
		b.round(f)
		for _, w := range b.watches.objects {
			if int(w.key.fd) != fd {
				continue
			}
			w.key.cookie++
			w.last.id.Cookie++
			assert.False(t, b.host.shutdown(&f.Process, w, nobodyAsks).done)
			a := b.host.destroy(b.diag, &f.Process, w, nobodyAsks)
			assert.False(t, a.done)
			assert.Equal(t, GuardIdentity, a.refused.Guard)
		}
		assert.Equal(t, 1, u.countStates(t, "08"))
	})
}

func TestGuard07SoleHolder(t *testing.T) {
	needSight(t)
	t.Run("forked worker", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.do(order{Do: "fork", FD: v.leak(u, 1)[0]})
		b := newBench(t, testSettings(t, ModeEnforce))
		verdicts := b.refusal(v.finding(u), 3)
		onlyRefusedBy(t, verdicts, GuardSoleHolder)
		assert.Contains(t, verdicts.String(), "also held by")
		assert.Equal(t, 1, u.countStates(t, "08"))
	})
	t.Run("forked between intent and act", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		fd := v.leak(u, 1)[0]
		b := newBench(t, testSettings(t, ModeEnforce))
		b.hook = func(stage string) {
			if stage == "act" {
				v.do(order{Do: "fork", FD: fd})
			}
		}
		onlyRefusedBy(t, b.refusal(v.finding(u), 3), GuardSoleHolder)
		assert.NotEmpty(t, b.records(TypeWithdrawn))
		assert.Equal(t, 1, u.countStates(t, "08"))
	})
	t.Run("two descriptors", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.do(order{Do: "dup", FD: v.leak(u, 1)[0]})
		b := newBench(t, testSettings(t, ModeEnforce))
		onlyRefusedBy(t, b.refusal(v.finding(u), 3), GuardSoleHolder)
		assert.Equal(t, 1, u.countStates(t, "08"))
	})
	t.Run("kernel TLS", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		fd := v.do(order{Do: "connect", Port: u.port(), Count: 1}).FDs[0]
		conn := <-u.conns
		if reply := v.try(order{Do: "tls", FD: fd}); reply.Error != "" {
			t.Skip("this kernel has no TLS:", reply.Error)
		}
		require.NoError(t, conn.Close())
		v.awaitStates(u, "08", 1)
		b := newBench(t, testSettings(t, ModeEnforce))
		verdicts := b.refusal(v.finding(u), 3)
		assert.True(t, verdicts.RefusedBy(GuardSoleHolder), "%s", verdicts)
	})
}

func TestGuard07IncompleteSight(t *testing.T) {
	t.Parallel()
	now := time.Now()
	whole := func() *hostSight {
		return &hostSight{
			at: now, holders: map[uint64][]holder{9: {{pid: 100, fd: 3}}}, rings: map[int32]bool{},
			parents: map[int32]int32{100: 50, 200: 100, 300: 50}, mayStore: func(int32) bool { return false },
		}
	}
	own := uint32(os.Getuid())
	other := own + 1
	cases := map[string]struct {
		spoil func(h *hostSight)
		rule  SoleHolder
		uid   uint32
		pass  bool
	}{
		"whole":                    {func(*hostSight) {}, SoleHolderHost, own, true},
		"hidden":                   {func(h *hostSight) { h.narrow = []string{"hidepid"} }, SoleHolderHost, own, false},
		"unfinished":               {func(h *hostSight) { h.partial = []string{"forks"} }, SoleHolderHost, own, false},
		"same_user, hidden":        {func(h *hostSight) { h.narrow = []string{"hidepid"} }, SoleHolderSameUser, own, true},
		"same_user, unfinished":    {func(h *hostSight) { h.partial = []string{"forks"} }, SoleHolderSameUser, own, false},
		"unread":                   {func(h *hostSight) { h.unread = []unread{{pid: 300, uid: other, known: true}} }, SoleHolderHost, own, false},
		"old":                      {func(h *hostSight) { h.at = now.Add(-time.Minute) }, SoleHolderHost, own, false},
		"io_uring":                 {func(h *hostSight) { h.rings[100] = true }, SoleHolderHost, own, false},
		"thread with own table":    {func(h *hostSight) { h.holders[9][0].thread = 101 }, SoleHolderHost, own, false},
		"gone":                     {func(h *hostSight) { h.holders = nil }, SoleHolderHost, own, false},
		"same_user, others unread": {func(h *hostSight) { h.unread = []unread{{pid: 300, uid: other, known: true}} }, SoleHolderSameUser, own, true},
		"same_user, ours unread":   {func(h *hostSight) { h.unread = []unread{{pid: 300, uid: own, known: true}} }, SoleHolderSameUser, own, false},
		"same_user, child unread":  {func(h *hostSight) { h.unread = []unread{{pid: 200, uid: other, known: true}} }, SoleHolderSameUser, own, false},
		"same_user, whose unread":  {func(h *hostSight) { h.unread = []unread{{pid: 300}} }, SoleHolderSameUser, own, false},
		"same_user, their socket":  {func(*hostSight) {}, SoleHolderSameUser, other, false},
		"same_user, init unread":   {func(h *hostSight) { h.unread = []unread{{pid: 1, uid: own, known: true}} }, SoleHolderSameUser, own, true},
		"same_user, init keeps descriptors": {func(h *hostSight) {
			h.unread, h.mayStore = []unread{{pid: 1}}, func(int32) bool { return true }
		}, SoleHolderSameUser, own, false},
	}
	for name, c := range cases {
		h := whole()
		c.spoil(h)
		reason, ok := h.soleHolder(100, 3, 9, c.uid, c.rule, now)
		assert.Equal(t, c.pass, ok, "%s: %s", name, reason)
	}
}

func TestGuard08Grade(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	b := newBench(t, testSettings(t, ModeEnforce))
	cases := map[string]func(f *leak.Finding, tg *target){
		"likely":           func(f *leak.Finding, _ *target) { f.State = leak.StateLikely },
		"corroborates":     func(f *leak.Finding, _ *target) { f.Role = leak.RoleCorroborates },
		"other policy":     func(f *leak.Finding, _ *target) { f.Process.ExecutableName = "another" },
		"basis limit":      func(f *leak.Finding, _ *target) { f.Basis = leak.BasisLimit },
		"old evidence":     func(f *leak.Finding, _ *target) { f.Time = time.Now().Add(-time.Minute) },
		"future evidence":  func(f *leak.Finding, _ *target) { f.Time = time.Now().Add(time.Minute) },
		"unknown interval": func(_ *leak.Finding, tg *target) { tg.interval = 0 },
	}
	for name, spoil := range cases {
		f := v.finding(u)
		tg := &target{finding: f, interval: f.Interval, policy: &b.set.Policies[0], action: ActionSocketDown, batch: 1}
		spoil(&tg.finding, tg)
		got := b.judgeFinding(tg, time.Now())
		require.True(t, got.RefusedBy(GuardGrade), "%s: %s", name, got)
		assert.Len(t, got.Refused(), 1, "%s", name)
	}
	f := v.finding(u)
	f.State = leak.StateLikely
	for range 3 {
		b.round(f)
	}
	assert.Empty(t, b.records(TypeProposed, TypeIntent), "likely is watched, not proposed")
	assert.Equal(t, 1, u.countStates(t, "08"))
}

func TestGuard09Limits(t *testing.T) {
	needSight(t)
	rates := map[string]Limits{
		"process":    {ProcessPerMinute: 2, ExecutablePerMinute: 1e6, TotalPerMinute: 1e6},
		"executable": {ProcessPerMinute: 1e6, ExecutablePerMinute: 2, TotalPerMinute: 1e6},
		"total":      {ProcessPerMinute: 1e6, ExecutablePerMinute: 1e6, TotalPerMinute: 2},
	}
	for name, limits := range rates {
		t.Run(name, func(t *testing.T) {
			v, u := startVictim(t), startUpstream(t)
			v.leak(u, 5)
			set := testSettings(t, ModeEnforce)
			set.Limits = limits
			b := newBench(t, set)
			onlyRefusedBy(t, b.refusal(v.finding(u), 5), GuardLimits)
			assert.Len(t, b.records(TypeVerified), 2)
			assert.Equal(t, 3, u.countStates(t, "08"))
		})
	}
	t.Run("fraction of a pass", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.leak(u, 10)
		elsewhere := startUpstream(t)
		v.do(order{Do: "connect", Port: elsewhere.port(), Count: 30})
		set := testSettings(t, ModeEnforce)
		set.Policies[0].PerPassFraction = 0.2
		b := newBench(t, set)
		for range 4 { // a look, then 1 of 10, 9 and 8, whatever is open elsewhere
			b.round(v.finding(u))
		}
		assert.Equal(t, 7, u.countStates(t, "08"))
		tg := b.targets[v.finding(u).ID]
		var got Verdicts
		b.guardLimits(&got, tg, 0, time.Now())
		onlyRefusedBy(t, got, GuardLimits)
	})
	t.Run("cooldown", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.leak(u, 3)
		set := testSettings(t, ModeEnforce)
		set.Limits.Cooldown = time.Hour
		b := newBench(t, set)
		for range 4 {
			b.round(v.finding(u))
		}
		assert.Equal(t, 2, u.countStates(t, "08"), "one pass an hour")
	})
}

func TestGuard10CanaryThatFailsStopsTheBatches(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 3)
	b := newBench(t, testSettings(t, ModeEnforce))
	f := v.finding(u)
	b.round(f)
	tg := b.targets[f.ID]
	// An act that did nothing: the socket's own state says so.
	_, w := b.only(f)
	b.pending = append(b.pending, &pendingAct{
		target: tg, record: *b.about(TypeApplied, tg, w), before: sockdiag.StateCloseWait, deadline: time.Now(),
	})
	for range 3 {
		b.round(f)
	}
	failed := b.records(TypeFailed)
	require.Len(t, failed, 1, "a no-op is never a success")
	assert.Contains(t, failed[0].Text, "still close_wait")
	assert.Empty(t, b.records(TypeIntent))
	assert.Equal(t, 3, u.countStates(t, "08"))
	verdicts := b.judge(tg, w, b.host.lookForHolders(map[uint64]bool{w.key.inode: true}, time.Now()), 1, time.Now())
	onlyRefusedBy(t, verdicts, GuardBlastRadius)
}

func TestGuard12Environment(t *testing.T) {
	t.Parallel()
	policies := []Policy{{SoleHolder: SoleHolderHost}}
	unprivileged := environment{ownPIDs: true}
	mode, why, off := unprivileged.strongest(ModeEnforce, policies)
	assert.Equal(t, ModeDryRun, mode)
	assert.False(t, off)
	require.Len(t, why, 1)
	assert.Contains(t, why[0], "CAP_SYS_PTRACE")
	mode, _, _ = unprivileged.strongest(ModeEnforce, []Policy{{SoleHolder: SoleHolderSameUser}})
	assert.Equal(t, ModeEnforce, mode)
	foreign := environment{ptrace: true}
	_, _, off = foreign.strongest(ModeEnforce, policies)
	assert.True(t, off, "another pid space")
	_, ok := unprivileged.allows(ActionSocketDestroy)
	assert.False(t, ok, "CAP_NET_ADMIN")
	seccomp := environment{ownPIDs: true, ptrace: true, missing: []string{"kcmp: function not implemented"}}
	mode, _, _ = seccomp.strongest(ModeEnforce, policies)
	assert.Equal(t, ModeDryRun, mode)
	_, ok = seccomp.allows(ActionSocketDown)
	assert.False(t, ok)
}

func TestGuard13HostLease(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 2)
	runtime := t.TempDir()
	set := testSettings(t, ModeEnforce)
	set.RuntimeDirectory = runtime
	first := newBench(t, set)
	assert.Equal(t, ModeEnforce, first.inForce())
	set = testSettings(t, ModeEnforce)
	set.RuntimeDirectory = runtime
	second := newBench(t, set)
	assert.Equal(t, ModeDryRun, second.inForce())
	assert.Contains(t, second.said, "auto_fix falls back to a weaker mode")
	onlyRefusedBy(t, second.refusal(v.finding(u), 3), GuardHostLease)
	assert.Equal(t, 2, u.countStates(t, "08"))

	require.NoError(t, os.Remove(filepath.Join(runtime, LeaseFile)))
	_, ok := first.leaseVerdict()
	assert.False(t, ok, "a lease that was removed keeps nobody out")
}

func TestGuard14OnceOnly(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	set := testSettings(t, ModeEnforce)
	b := newBench(t, set)
	f := v.finding(u)
	b.round(f)
	tg, w := b.only(f)
	require.True(t, b.note(b.about(TypeIntent, tg, w)))
	require.NoError(t, b.closeAll())
	again := newBench(t, set)
	// The object is as it was: the intent is withdrawn, and may come again.
	require.Len(t, again.records(TypeWithdrawn), 1)
	assert.Empty(t, again.done)
	again.done[doneKey{f.Process.BootID, w.key.cookie}] = true
	onlyRefusedBy(t, again.refusal(f, 3), GuardAlreadyActed)
	assert.Equal(t, 1, u.countStates(t, "08"))
}

func TestPeers(t *testing.T) {
	t.Parallel()
	now := time.Now()
	at := netip.MustParseAddrPort("192.0.2.1:80")
	cases := map[string]struct {
		peer  peerSight
		seen  bool
		after time.Duration
		pass  bool
	}{
		"orphan":               {peer: peerOrphan, pass: true},
		"absent on loopback":   {peer: peerAbsentLoopback, pass: true},
		"absent, ours":         {peer: peerAbsentLocal},
		"absent, ours, seen":   {peer: peerAbsentLocal, seen: true, pass: true},
		"alive":                {peer: peerAlive, after: time.Second},
		"unknown":              {peer: peerUnknown, after: time.Second},
		"remote":               {peer: peerRemote},
		"remote, by policy":    {peer: peerRemote, after: time.Minute, pass: true},
		"remote, not for long": {peer: peerRemote, after: 2 * time.Hour},
	}
	for name, c := range cases {
		w := &watched{since: now.Add(-time.Hour), peerSeen: c.seen, last: sight{peer: c.peer, id: sockdiag.ID{Remote: at}}}
		reason, ok := peerVerdict(w, &Policy{RemotePeerGoneAfter: c.after}, now)
		assert.Equal(t, c.pass, ok, "%s: %s", name, reason)
	}
	not := sockdiag.Socket{State: sockdiag.StateEstablished}
	assert.Equal(t, peerAlive, endOfPeer(&not), "a connection not yet accepted has no inode either")
}

// only returns the one object watched for a finding.
func (b *bench) only(f leak.Finding) (*target, *watched) {
	b.t.Helper()
	tg := b.targets[f.ID]
	require.NotNil(b.t, tg)
	for _, w := range b.watches.of(f.Process.InstanceID, f.Site) {
		return tg, w
	}
	require.Fail(b.t, "nothing is watched")
	return nil, nil
}
