// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// nobodyAsks lets an act be judged by what else refuses it.
func nobodyAsks() *Verdict { return nil }

func init() {
	moreOrders["read"] = func(o *order) error {
		_, err := unix.Read(o.FD, make([]byte, 1))
		return err
	}
	// The same socket, with inode and cookie: disconnected (man 2 connect), and
	// then made to listen.
	moreOrders["listen again"] = func(o *order) error {
		if err := disconnect(o.FD); err != nil {
			return err
		}
		return unix.Listen(o.FD, 16)
	}
}

func disconnect(fd int) error {
	unspec := unix.RawSockaddrInet4{Family: unix.AF_UNSPEC}
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&unspec)), unsafe.Sizeof(unspec))
	if errno != 0 {
		return errno
	}
	return nil
}

// halfClosed leaves the victim with a connection whose other end has said all
// it will say, and lives.
func (v *victim) halfClosed(u *upstream) net.Conn {
	v.t.Helper()
	v.do(order{Do: "connect", Port: u.port(), Count: 1})
	conn := <-u.conns
	v.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(v.t, conn.(interface{ CloseWrite() error }).CloseWrite())
	v.awaitStates(u, "08", 1)
	return conn
}

// sees is a look over the host for one object.
func (b *bench) sees(w *watched) *hostSight {
	return b.host.lookForHolders(map[uint64]bool{w.key.inode: true}, time.Now())
}

func verdictOf(v Verdicts, g Guard) Verdict {
	if i := v.index(g); i >= 0 {
		return v[i]
	}
	return Verdict{}
}

func TestADumpThatPassesOverALivingPeer(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.halfClosed(u)
	b := newBench(t, testSettings(t, ModeEnforce))
	f := v.finding(u)
	b.round(f)
	tg, w := b.only(f)
	w.last.peer, w.since = peerUnknown, time.Now().Add(-time.Hour) // as the dump would leave it
	verdicts := b.judge(tg, w, b.sees(w), 1, time.Now())
	onlyRefusedBy(t, verdicts, GuardTraffic)
	assert.Contains(t, verdicts.String(), "still holds")

	for _, action := range []Action{ActionSocketDown, ActionSocketDestroy} {
		tg.action = action
		b.act(tg, w, b.sees(w))
	}
	assert.Empty(t, b.records(TypeApplied, TypeRaced, TypeFailed))
	assert.Len(t, b.records(TypeWithdrawn), 2, "asked again in the same breath as the act")
	for _, r := range b.records(TypeRefused) {
		onlyRefusedBy(t, r.Guards, GuardTraffic)
	}
	assert.Equal(t, 1, u.countStates(t, "08"))
}

func TestAPeerThatCannotBeAskedFor(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	b := newBench(t, testSettings(t, ModeEnforce))
	f := v.finding(u)
	b.round(f)
	tg, w := b.only(f)
	working := b.diag
	deaf, err := sockdiag.Open()
	require.NoError(t, err)
	require.NoError(t, deaf.Close())
	b.diag = deaf
	t.Cleanup(func() { b.diag = working })
	verdicts := b.judge(tg, w, b.sees(w), 1, time.Now())
	b.act(tg, w, b.sees(w))
	b.diag = working
	onlyRefusedBy(t, verdicts, GuardTraffic)
	assert.Contains(t, verdicts.String(), "cannot be asked")
	assert.Empty(t, b.records(TypeApplied))
	assert.Equal(t, 1, u.countStates(t, "08"))
}

func TestWhatADumpDoesNotShowIsUnknown(t *testing.T) {
	u := startUpstream(t)
	fd, err := dial(u.port())
	require.NoError(t, err)
	defer closeFD(t, fd)
	conn := <-u.conns
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	diag, err := sockdiag.Open()
	require.NoError(t, err)
	defer func() { require.NoError(t, diag.Close()) }()
	look := func() *sight {
		seen, err := lookAt(diag, map[uint64]bool{st.Ino: true})
		require.NoError(t, err)
		return seen.sights[st.Ino]
	}
	s := look()
	require.NotNil(t, s)
	assert.Equal(t, peerAlive, s.peer)
	require.NoError(t, conn.(*net.TCPConn).SetLinger(-1))
	require.NoError(t, conn.Close())
	around, err := lookAround("/proc")
	require.NoError(t, err)
	asked, err := askPeer(diag, &s.id, around)
	require.NoError(t, err)
	assert.Equal(t, peerOrphan, asked, "on its way out")
	gone := s.id
	gone.Remote = netip.AddrPortFrom(gone.Remote.Addr(), 1)
	asked, err = askPeer(diag, &gone, around)
	require.NoError(t, err)
	assert.Contains(t, []peerSight{peerAbsentLoopback, peerAbsentLocal}, asked)
}

func TestAPolicyThatNoLongerMatches(t *testing.T) {
	needSight(t)
	cases := map[string]struct {
		match  func(m *Match)
		before func(f *leak.Finding)
		after  func(f *leak.Finding)
	}{
		"basis": {
			match:  func(m *Match) { m.Basis = []leak.Basis{leak.BasisProof} },
			before: func(*leak.Finding) {},
			after:  func(f *leak.Finding) { f.Basis = leak.BasisTrend },
		},
		"cgroup only of the finding": {
			match:  func(m *Match) { m.Cgroups = []string{"/canary"} },
			before: func(f *leak.Finding) { f.Process.Cgroup = "/canary" },
			after:  func(*leak.Finding) {},
		},
		"owner only of the finding": {
			match:  func(m *Match) { m.Owners = []string{"nobody-at-all"} },
			before: func(f *leak.Finding) { f.Process.Owner = "nobody-at-all" },
			after:  func(*leak.Finding) {},
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			v, u := startVictim(t), startUpstream(t)
			v.leak(u, 2)
			set := testSettings(t, ModeEnforce)
			c.match(&set.Policies[0].Match)
			b := newBench(t, set)
			f := v.finding(u)
			c.before(&f)
			f.State = leak.StateLikely
			b.round(f)
			f.State = leak.StateConfirmed
			c.after(&f)
			for range 3 {
				b.round(f)
			}
			assert.Empty(t, b.records(TypeIntent, TypeApplied))
			assert.Nil(t, b.targets[f.ID].policy)
			assert.Equal(t, 2, u.countStates(t, "08"))
		})
	}
	t.Run("as the kernel says", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.leak(u, 1)
		set := testSettings(t, ModeEnforce)
		owner, cgroup := procfs{"/proc"}.belongsTo(v.pid)
		set.Policies[0].Match.Owners = []string{owner}
		set.Policies[0].Match.Cgroups = []string{cgroup}
		b := newBench(t, set)
		for range 3 {
			b.round(v.finding(u))
		}
		assert.Len(t, b.records(TypeVerified), 1)
	})
	t.Run("between the intents and the act", func(t *testing.T) {
		v, u := startVictim(t), startUpstream(t)
		v.leak(u, 1)
		b := newBench(t, testSettings(t, ModeEnforce))
		f := v.finding(u)
		b.hook = func(stage string) {
			if stage == "act" {
				b.set.Policies[0].Match.Owners = []string{"nobody-at-all"}
			}
		}
		onlyRefusedBy(t, b.refusal(f, 3), GuardGrade)
		assert.Len(t, b.records(TypeWithdrawn), 1)
		assert.Equal(t, 1, u.countStates(t, "08"))
	})
}

// holdsUnread is a connection with bytes in the victim's receive queue, which
// an upstream named by the policy sent.
func holdsUnread(t *testing.T) (*victim, *upstream, int, *bench) {
	t.Helper()
	v, u := startVictim(t), startUpstream(t)
	fd := v.do(order{Do: "connect", Port: u.port(), Count: 1}).FDs[0]
	conn := <-u.conns
	t.Cleanup(func() { _ = conn.Close() })
	_, err := conn.Write(make([]byte, 1000))
	require.NoError(t, err)
	set := testSettings(t, ModeEnforce)
	set.Policies[0].Peers = []string{u.site()}
	return v, u, fd, newBench(t, set)
}

func TestAQueueThatItsOwnerReads(t *testing.T) {
	needSight(t)
	t.Run("during the watch", func(t *testing.T) {
		v, u, fd, b := holdsUnread(t)
		f := v.finding(u)
		for range 4 {
			v.do(order{Do: "read", FD: fd})
			b.round(f)
		}
		assert.Empty(t, b.records(TypeIntent))
		assert.Equal(t, 1, u.countStates(t, "01"))
	})
	t.Run("before the act", func(t *testing.T) {
		v, u, fd, b := holdsUnread(t)
		b.hook = func(stage string) {
			if stage == "act" {
				v.do(order{Do: "read", FD: fd})
			}
		}
		f := v.finding(u)
		for range 3 {
			b.round(f)
		}
		require.NotEmpty(t, b.records(TypeRaced))
		assert.Contains(t, b.records(TypeRaced)[0].Text, "queue")
		assert.Empty(t, b.records(TypeApplied))
		assert.Equal(t, 1, u.countStates(t, "01"))
	})
	t.Run("left alone", func(t *testing.T) {
		v, u, _, b := holdsUnread(t)
		for range 4 {
			b.round(v.finding(u))
		}
		assert.Len(t, b.records(TypeVerified), 1, "bytes that nobody reads do not keep a connection")
	})
	t.Run("bytes on their way", func(t *testing.T) {
		v, u, _, b := holdsUnread(t)
		f := v.finding(u)
		b.round(f)
		tg, w := b.only(f)
		w.last.sendQueue, w.since = 5, time.Now().Add(-time.Hour)
		got := b.judge(tg, w, b.sees(w), 1, time.Now())
		onlyRefusedBy(t, got, GuardTraffic)
		assert.Contains(t, got.String(), "5 bytes are still on their way")
	})
}

func TestAQueueThatChangesIsTraffic(t *testing.T) {
	t.Parallel()
	start := time.Now()
	key := objectKey{instance: "a", fd: 3, inode: 9, cookie: 7}
	for name, s := range map[string]sight{"received": {recvQueue: 5}, "sent": {sendQueue: 5}} {
		table := newWatchTable(10, func() {})
		w := table.observe(key, "site", &s, start, time.Minute)
		w.judged, w.proposed = true, true
		table.observe(key, "site", &s, start.Add(time.Second), time.Minute)
		require.Equal(t, time.Second, w.idle(start.Add(time.Second)), name)
		s.recvQueue, s.sendQueue = s.recvQueue/2, s.sendQueue/2
		table.observe(key, "site", &s, start.Add(2*time.Second), time.Minute)
		assert.Zero(t, w.idle(start.Add(2*time.Second)), name)
		assert.False(t, w.judged || w.proposed, name)
	}
}

func TestUnreadBytesAreWhatTheSocketSays(t *testing.T) {
	u := startUpstream(t)
	fd, err := dial(u.port())
	require.NoError(t, err)
	defer closeFD(t, fd)
	conn := <-u.conns
	var st unix.Stat_t
	require.NoError(t, unix.Fstat(fd, &st))
	diag, err := sockdiag.Open()
	require.NoError(t, err)
	defer func() { require.NoError(t, diag.Close()) }()
	agree := func(state uint8, unread int) {
		t.Helper()
		require.Eventually(t, func() bool {
			seen, err := lookAt(diag, map[uint64]bool{st.Ino: true})
			require.NoError(t, err)
			info, err := readInfo(fd)
			require.NoError(t, err)
			s := seen.sights[st.Ino]
			return s != nil && s.state == state && s.unreadBytes() == unread && info.unread == unread
		}, 5*time.Second, 5*time.Millisecond, "%d bytes", unread)
	}
	agree(sockdiag.StateEstablished, 0)
	_, err = conn.Write([]byte("abc"))
	require.NoError(t, err)
	agree(sockdiag.StateEstablished, 3)
	require.NoError(t, conn.Close())
	agree(sockdiag.StateCloseWait, 3)
	buf := make([]byte, 8)
	for range 2 { // the bytes, then the end of the stream
		_, err = unix.Read(fd, buf)
		require.NoError(t, err)
		agree(sockdiag.StateCloseWait, 0)
	}
}

func TestLimitsAreThoseOfTheProcess(t *testing.T) {
	needSight(t)
	t.Run("cooldown over many findings", func(t *testing.T) {
		v := startVictim(t)
		set := testSettings(t, ModeEnforce)
		set.Limits.Cooldown = time.Hour
		b := newBench(t, set)
		var findings []leak.Finding
		for range 5 {
			u := startUpstream(t)
			v.leak(u, 1)
			findings = append(findings, v.finding(u))
		}
		for range 3 {
			for _, f := range findings[1:] {
				f.Time = time.Now()
				require.True(t, b.Propose(f))
			}
			b.round(findings[0])
		}
		assert.Len(t, b.records(TypeApplied), 1)
	})
	t.Run("one finding after the other", func(t *testing.T) {
		v := startVictim(t)
		b := newBench(t, testSettings(t, ModeEnforce))
		var findings []leak.Finding
		for range 3 {
			u := startUpstream(t)
			v.leak(u, 1)
			findings = append(findings, v.finding(u))
		}
		for i := range 4 {
			for _, f := range findings[1:] {
				f.Time = time.Now()
				require.True(t, b.Propose(f))
			}
			b.round(findings[0])
			assert.Len(t, b.records(TypeApplied), i, "one target of a process in a pass")
		}
		assert.Len(t, b.records(TypeVerified), 3, "each has its turn")
	})
	t.Run("a failure stops the other findings", func(t *testing.T) {
		v, u, other := startVictim(t), startUpstream(t), startUpstream(t)
		v.leak(u, 1)
		v.leak(other, 1)
		b := newBench(t, testSettings(t, ModeEnforce))
		b.round(v.finding(u))
		b.targets[v.finding(u).ID].life.stopped = "an earlier repair failed"
		for range 3 {
			b.round(v.finding(other))
		}
		assert.Empty(t, b.records(TypeIntent))
		tg, w := b.only(v.finding(other))
		onlyRefusedBy(t, b.judge(tg, w, b.sees(w), 1, time.Now()), GuardBlastRadius)
	})
	t.Run("pending of another finding", func(t *testing.T) {
		v, u, other := startVictim(t), startUpstream(t), startUpstream(t)
		v.leak(u, 1)
		v.leak(other, 1)
		b := newBench(t, testSettings(t, ModeEnforce))
		b.round(v.finding(u))
		b.round(v.finding(other))
		tg, w := b.only(v.finding(u))
		b.pending = []*pendingAct{{
			target: tg, record: *b.about(TypeApplied, tg, w), before: sockdiag.StateEstablished, deadline: time.Now().Add(time.Hour),
		}}
		tg, w = b.only(v.finding(other))
		onlyRefusedBy(t, b.judge(tg, w, b.sees(w), 1, time.Now()), GuardBlastRadius)
	})
}

func TestAnActThatHitTrafficStopsTheBatch(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	fds := v.do(order{Do: "connect", Port: u.port(), Count: 3}).FDs
	for range fds {
		c := <-u.conns
		t.Cleanup(func() { _ = c.Close() })
	}
	set := testSettings(t, ModeEnforce)
	set.Policies[0].Peers = []string{u.site()}
	b := newBench(t, set)
	f := v.finding(u)
	b.round(f)
	tg, w := b.only(f)
	tg.batch = 2
	b.hook = func(stage string) {
		if stage == "intents" { // as if the first of the batch had come to this
			b.account(tg, w, &acted{done: true, raced: true, why: "bytes arrived between the last look and the act"})
		}
	}
	for range 3 {
		b.round(f)
	}
	assert.Len(t, b.records(TypeRaced), 1)
	assert.Len(t, b.records(TypeWithdrawn), 2, "the rest of the batch")
	assert.Len(t, b.records(TypeIntent), 2, "and no batch after it")
	assert.True(t, b.records(TypeRefused)[0].Guards.RefusedBy(GuardBlastRadius))
	assert.Equal(t, 3, u.countStates(t, "01"))
}

func TestACorroboratingFindingIsLeftToItsCause(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 2)
	b := newBench(t, testSettings(t, ModeEnforce))
	f := v.finding(u)
	f.Role = leak.RoleCorroborates
	onlyRefusedBy(t, b.refusal(f, 4), GuardGrade)
	assert.Len(t, b.records(TypeRefused), 1, "said once")
	assert.Equal(t, 2, u.countStates(t, "08"))
}

func TestASilentFindingKeepsWhatItOwes(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.leak(u, 1)
	set := testSettings(t, ModeEnforce)
	set.ApprovalTimeout = 2 * time.Hour
	set.Limits.Cooldown = 3 * time.Hour
	b := newBench(t, set)
	f := v.finding(u)
	b.round(f)
	now := time.Now()
	b.now = func() time.Time { return now }
	silent := func(d time.Duration) {
		now = now.Add(d)
		b.drain(now)
	}
	tg, w := b.only(f)
	l := tg.life
	l.lastPass = now
	tg.waiting, tg.expires = "proposal", now.Add(set.ApprovalTimeout)
	silent(time.Hour)
	assert.Contains(t, b.targets, f.ID, "a proposal waits")
	b.pending = []*pendingAct{{target: tg, record: *b.about(TypeApplied, tg, w), deadline: now.Add(time.Hour)}}
	silent(time.Hour + time.Minute)
	assert.Len(t, b.records(TypeExpired), 1, "however silent")
	assert.Contains(t, b.targets, f.ID, "an act is not verified")
	b.pending = nil
	silent(time.Minute)
	assert.NotContains(t, b.targets, f.ID)
	assert.Same(t, l, b.lifeOf(&f), "the cooldown runs")
	l.stopped = "an earlier repair failed"
	silent(24 * time.Hour)
	assert.Same(t, l, b.lifeOf(&f), "stopped as long as the process lives")
	v.end()
	silent(time.Minute)
	assert.Empty(t, b.lives)
}

func TestAProcessCannotWashTheJournalOut(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.do(order{Do: "connect", Port: u.port(), Count: 1})
	b := newBench(t, testSettings(t, ModeEnforce))
	f := v.finding(u)
	b.round(f)
	tg, w := b.only(f)
	now := time.Now()
	b.now = func() time.Time { return now }
	var refused Verdicts
	refused.refuse(GuardTraffic, "alive")
	const most = 3 * maxRefusals
	for range most { // as if one byte had moved after each
		w.refusedBy, w.proposed = "", false
		b.refuseObject(tg, w, refused)
	}
	assert.Len(t, b.records(TypeRefused), maxRefusals)
	assert.Len(t, b.records(TypeProposed), maxRefusals)
	assert.EqualValues(t, most, b.counted()[CountRefused], "all are counted")
	now = now.Add(refusalWindow)
	b.drain(now)
	records := b.records(TypeRefused)
	require.Len(t, records, maxRefusals+1)
	assert.Contains(t, records[maxRefusals].Text, fmt.Sprintf("%d refusals", most-maxRefusals))
}

func TestUnchangedRefusalsRest(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	v.do(order{Do: "connect", Port: u.port(), Count: 1})
	set := testSettings(t, ModeEnforce)
	set.Limits.Cooldown = time.Second
	b := newBench(t, set)
	f := v.finding(u)
	b.round(f)
	b.round(f)
	require.Len(t, b.records(TypeRefused), 1)
	tg, w := b.only(f)
	assert.Equal(t, tg.judged, tg.life.lastPass, "a refused pass is a pass")
	passes := []time.Duration{}
	now := tg.judged
	start := now
	for range 120 {
		now = now.Add(time.Second)
		n := turn{target: tg, found: []*watched{w}, refusedBy: tg.judgedBy}
		if b.worthAPass(&n, now) {
			passes = append(passes, now.Sub(start))
			tg.judged, tg.life.lastPass = now, now
			tg.rest = b.nextRest(tg.rest, n.news)
		}
	}
	assert.Less(t, len(passes), 10, "%v", passes)
	w.judged = false
	n := turn{target: tg, found: []*watched{w}, refusedBy: tg.judgedBy}
	assert.True(t, b.worthAPass(&n, now.Add(time.Second)), "news is judged at once")
	n = turn{target: tg, found: nil, refusedBy: "another guard"}
	assert.True(t, b.worthAPass(&n, now.Add(time.Second)))
}

func TestAnEndedThreadHidesNoTable(t *testing.T) {
	ended, living := make(chan int), make(chan int)
	end, quit := make(chan struct{}), make(chan struct{})
	var thread func(id chan<- int, until <-chan struct{})
	thread = func(id chan<- int, until <-chan struct{}) {
		runtime.LockOSThread() // never unlocked: the thread ends with its goroutine
		if unix.Gettid() == os.Getpid() {
			// But for the first one, which is kept busy so that another is taken.
			defer runtime.UnlockOSThread()
			go thread(id, until)
			<-until
			return
		}
		assert.NoError(t, unix.Unshare(unix.CLONE_FILES))
		id <- unix.Gettid()
		<-until
	}
	go thread(ended, end)
	go thread(living, quit)
	first, second := <-ended, <-living
	defer close(quit)
	close(end)
	require.Eventually(t, func() bool {
		_, err := os.Stat(fmt.Sprintf("/proc/self/task/%d", first))
		return errors.Is(err, os.ErrNotExist)
	}, 5*time.Second, time.Millisecond)
	shared, err := sharesFiles([]int32{int32(os.Getpid()), int32(first)}, int32(second))
	require.NoError(t, err)
	assert.False(t, shared, "its table is to be read")
}

func TestTheSocketItselfIsAskedLast(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	fd := v.leak(u, 1)[0]
	b := newBench(t, testSettings(t, ModeDryRun))
	b.env.classified = false
	f := v.finding(u)
	b.round(f)
	tg, w := b.only(f)
	w.since = time.Now().Add(-time.Hour)
	t.Run("another guard refuses", func(t *testing.T) {
		w.key.cookie++ // only a copy would tell
		defer func() { w.key.cookie-- }()
		tg.life.stopped = "an earlier repair failed"
		defer func() { tg.life.stopped = "" }()
		got := b.judge(tg, w, b.sees(w), 1, time.Now())
		onlyRefusedBy(t, got, GuardBlastRadius)
		assert.Len(t, got, 14, "every guard has a verdict")
		for _, g := range ofTheSocket {
			assert.Contains(t, verdictOf(got, g).Reason, "not asked", "%s", g)
		}
		tg.life.stopped = ""
		assert.True(t, b.judge(tg, w, b.sees(w), 1, time.Now()).RefusedBy(GuardIdentity))
	})
	t.Run("dry_run where a copy is felt", func(t *testing.T) {
		b.env.classified = true
		got := b.judge(tg, w, b.sees(w), 1, time.Now())
		onlyRefusedBy(t, got, GuardIdentity)
		assert.Contains(t, got.String(), "net_cls")
		b.mode = ModeEnforce
		assert.True(t, b.judge(tg, w, b.sees(w), 1, time.Now()).Pass())
	})
	t.Run("another descriptor behind the number", func(t *testing.T) {
		v.do(order{Do: "close", FD: fd})
		got := b.judge(tg, w, b.sees(w), 1, time.Now())
		assert.True(t, got.RefusedBy(GuardIdentity), "%s", got)
	})
}
