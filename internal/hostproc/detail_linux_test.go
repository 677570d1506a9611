// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"context"
	"net"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// detailed opens a scanner that always details one executable.
func detailed(tb testing.TB, change func(*Options)) *Scanner {
	tb.Helper()
	return newScanner(tb, func(o *Options) {
		o.Detail = true
		o.Want = func(*Facts) bool { return true }
		o.DetailWant = func(f *Facts) bool { return f.Parent == int32(testPID) }
		if change != nil {
			change(o)
		}
	})
}

func TestDetailKindsAndSites(t *testing.T) {
	h := startHolder(t)
	dir := t.TempDir()
	inherited := siteCount(scan(t, detailed(t, nil), time.Now(), h.pid()).Detail, "pipe", "")
	h.do(t, "file 7 %s", dir)
	h.do(t, "pipe 3")
	h.do(t, "eventfd 5")
	h.do(t, "timerfd 2")
	h.do(t, "inotify 1 %s /tmp /", dir)
	h.do(t, "socket 4")
	h.do(t, "udp 2")
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	h.do(t, "dial 6 tcp4 %s", l.Addr())

	s := detailed(t, nil)
	now := time.Now()
	p := scan(t, s, now, h.pid())
	require.NotNil(t, p)
	p = scan(t, s, now.Add(time.Second), h.pid()) // the sockets are now known to be attached nowhere
	require.NotNil(t, p.Detail)
	d := p.Detail
	assert.EqualValues(t, openDescriptors(t, h.pid()), p.Descriptors)
	assert.Equal(t, p.Descriptors, total(d), "the sites add up to the whole")
	site := string(appendFileSite(nil, []byte(dir+"/f")))
	assert.EqualValues(t, 7, siteCount(d, "file", site))
	assert.Equal(t, inherited+6, siteCount(d, "pipe", ""))
	assert.GreaterOrEqual(t, siteCount(d, "eventfd", ""), int64(5))
	assert.EqualValues(t, 2, siteCount(d, "timerfd", ""))
	assert.EqualValues(t, 1, siteCount(d, "inotify", ""))
	assert.EqualValues(t, 3, d.InotifyWatches)
	assert.GreaterOrEqual(t, d.EpollWatches, int64(1), "Go's own poller")

	client := findSite(t, d, "socket", l.Addr().String())
	assert.EqualValues(t, 6, client.Count)
	assert.EqualValues(t, 6, client.Sockets[TransportTCP][sockdiag.StateEstablished])
	unbound := findSite(t, d, "socket", "")
	assert.EqualValues(t, 4, unbound.Count)
	assert.EqualValues(t, 4, unbound.Sockets[TransportTCP][StateUnattached])
	assert.EqualValues(t, 2, findSite(t, d, "socket", "udp").Sockets[TransportUDP][sockdiag.StateClose])
}

func TestServerSite(t *testing.T) {
	h := startHolder(t)
	probe, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	address := probe.Addr().String()
	require.NoError(t, probe.Close())
	h.do(t, "listen 1 tcp4 %s", address)

	s := detailed(t, nil)
	p := scan(t, s, time.Now(), h.pid())
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	site := findSite(t, p.Detail, "socket", ":"+port)
	assert.EqualValues(t, 1, site.Sockets[TransportTCP][sockdiag.StateListen])
}

func TestLifetimes(t *testing.T) {
	h := startHolder(t)
	dir := t.TempDir()
	h.do(t, "eventfd 3")
	s := detailed(t, nil)
	now := time.Now()
	scan(t, s, now, h.pid())
	h.do(t, "file 5 %s", dir)
	scan(t, s, now.Add(10*time.Second), h.pid())
	h.do(t, "close 2 file")
	h.do(t, "close 1 eventfd")
	p := scan(t, s, now.Add(40*time.Second), h.pid())

	site := findSite(t, p.Detail, "file", string(appendFileSite(nil, []byte(dir+"/f"))))
	assert.EqualValues(t, 3, site.Count)
	assert.EqualValues(t, 2, site.Lifetime.Count)
	assert.InDelta(t, 40, site.Lifetime.Sum, 1e-6, "two lives from 5 s to 25 s, the middles of the intervals")
	assert.EqualValues(t, 3, site.Age.Count)
	assert.InDelta(t, 3*35, site.Age.Sum, 1e-6)
	events := findSite(t, p.Detail, "eventfd", "")
	assert.Zero(t, events.Lifetime.Count, "its birth was not seen")
}

func TestAbandonedSockets(t *testing.T) {
	h := startHolder(t)
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	h.do(t, "dial 5 tcp4 %s", l.Addr())
	conns := make([]*net.TCPConn, 5)
	for i := range conns {
		c, err := l.Accept()
		require.NoError(t, err)
		conns[i] = c.(*net.TCPConn)
	}
	t.Cleanup(func() {
		for _, c := range conns {
			_ = c.Close()
		}
	})
	for _, c := range conns[:3] {
		require.NoError(t, c.Close()) // gone
	}
	require.NoError(t, conns[3].CloseWrite()) // half closed: may still answer

	s := detailed(t, func(o *Options) { o.Abandoned = time.Minute })
	now := time.Now()
	var site *Site
	require.Eventually(t, func() bool {
		site = findSite(t, scan(t, s, now, h.pid()).Detail, "socket", l.Addr().String())
		return site.Sockets[TransportTCP][sockdiag.StateCloseWait] == 4
	}, 5*time.Second, 5*time.Millisecond)
	assert.EqualValues(t, 1, site.Sockets[TransportTCP][sockdiag.StateEstablished])
	assert.Zero(t, site.Abandoned, "not watched for long enough")

	p := scan(t, s, now.Add(59*time.Second), h.pid())
	assert.Zero(t, findSite(t, p.Detail, "socket", l.Addr().String()).Abandoned)
	p = scan(t, s, now.Add(61*time.Second), h.pid())
	site = findSite(t, p.Detail, "socket", l.Addr().String())
	assert.EqualValues(t, 3, site.Abandoned)

	for range 2 * lifetimesNeeded {
		site.Lifetime.add(time.Hour)
	}
	p = scan(t, s, now.Add(62*time.Second), h.pid())
	assert.EqualValues(t, 3, findSite(t, p.Detail, "socket", l.Addr().String()).Abandoned, "a longer p99 takes none of them back")
}

// A process that no longer climbs, and was not asked for, is reported while it
// holds abandoned sockets.
func TestAbandonedSocketsMakeASuspect(t *testing.T) {
	h := startHolder(t)
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	h.do(t, "dial 1 tcp4 %s", l.Addr())
	c, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, c.Close())

	s := detailed(t, func(o *Options) {
		o.Abandoned = time.Minute
		o.DetailWant = func(*Facts) bool { return false }
	})
	now := time.Now()
	assert.Nil(t, scan(t, s, now, h.pid()).Detail)
	assert.Nil(t, scan(t, s, now.Add(30*time.Second), h.pid()).Detail)
	p := scan(t, s, now.Add(91*time.Second), h.pid())
	require.NotNil(t, p.Detail)
	assert.EqualValues(t, 1, findSite(t, p.Detail, "socket", l.Addr().String()).Abandoned)
}

func TestSuspectsAreHeld(t *testing.T) {
	h := startHolder(t)
	s := newScanner(t, func(o *Options) { o.Detail, o.Hold = true, time.Hour })
	now := time.Now()
	var p *Process
	for range 9 {
		now = now.Add(10 * time.Second)
		p = scan(t, s, now, h.pid())
		h.do(t, "eventfd 1")
	}
	require.NotNil(t, p.Detail, "it climbs")
	p = scan(t, s, now.Add(59*time.Minute), h.pid())
	require.NotNil(t, p.Detail, "held")
	p = scan(t, s, now.Add(2*time.Hour), h.pid())
	assert.Nil(t, p.Detail, "let go")
}

func TestBudgetTakesTurns(t *testing.T) {
	holders := []*holder{startHolder(t), startHolder(t), startHolder(t)}
	for _, h := range holders {
		h.do(t, "eventfd 50")
	}
	s := detailed(t, func(o *Options) { o.Budget = 70 })
	now := time.Now()
	seen := map[int]int{}
	for i := range 6 {
		all, err := s.Scan(now.Add(time.Duration(i) * time.Second))
		require.NoError(t, err)
		for _, p := range all {
			if p.Detail != nil {
				seen[int(p.Identity.PID)]++
			}
		}
		assert.Positive(t, s.Stats().Deferred)
	}
	for _, h := range holders {
		assert.Equal(t, 2, seen[h.pid()])
	}
}

func TestObjectBound(t *testing.T) {
	h := startHolder(t)
	h.do(t, "eventfd 50")
	s := detailed(t, func(o *Options) { o.MaxObjects = 20 })
	p := scan(t, s, time.Now(), h.pid())
	assert.Equal(t, p.Descriptors, total(p.Detail), "what is not followed is still counted")
	assert.Positive(t, s.Stats().ObjectsRefused)
	assert.LessOrEqual(t, s.Stats().Objects, 20)
}

func TestDetailAllocatesNothing(t *testing.T) {
	h := startHolder(t)
	h.do(t, "eventfd 50")
	h.do(t, "file 50 %s", t.TempDir())
	h.do(t, "udp 5")
	s := detailed(t, func(o *Options) { o.Want = func(f *Facts) bool { return f.Parent == int32(testPID) } })
	now := time.Now()
	for range 5 {
		scan(t, s, now, h.pid())
	}
	requireNoGarbage(t, s, now)
}

func TestExecIsANewLife(t *testing.T) {
	h := startHolder(t)
	s := newScanner(t, nil)
	now := time.Now()
	before := scan(t, s, now, h.pid())
	require.NotNil(t, before)
	old := *before
	h.tell(t, "exec 1 /bin/sleep 60")
	var after *Process
	require.Eventually(t, func() bool {
		after = scan(t, s, now, h.pid())
		return after != nil && after.Facts.Name != old.Facts.Name
	}, 5*time.Second, time.Millisecond)
	assert.Equal(t, old.Identity.StartTicks, after.Identity.StartTicks)
	assert.NotEqual(t, old.InstanceID, after.InstanceID)
	assert.Equal(t, old.Created, after.Created)
}

func TestEndedProcessIsNoError(t *testing.T) {
	h := startHolder(t)
	s := newScanner(t, func(o *Options) { o.Detail = true })
	require.NotNil(t, scan(t, s, time.Now(), h.pid()))
	lives := s.Stats().Lives
	require.NoError(t, h.cmd.Process.Kill())
	_ = h.cmd.Wait()
	require.Nil(t, scan(t, s, time.Now(), h.pid()))
	assert.Less(t, s.Stats().Lives, lives+1)
	assert.Zero(t, s.Stats().Errors[ReasonMalformed])
}

func TestProcessBound(t *testing.T) {
	s := newScanner(t, func(o *Options) { o.MaxProcesses = 1 })
	all, err := s.Scan(time.Now())
	require.NoError(t, err)
	assert.Len(t, all, 1)
	assert.Positive(t, s.Stats().Refused)
}

func TestPoolIsLearned(t *testing.T) {
	h := startHolder(t)
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	h.do(t, "dial 2 tcp4 %s", l.Addr())
	s := detailed(t, func(o *Options) { o.Idle = 50 * time.Millisecond })
	now := time.Now()
	see := func() *Site {
		return findSite(t, scan(t, s, now, h.pid()).Detail, "socket", l.Addr().String())
	}
	require.Eventually(t, func() bool { return see().Idle == 2 }, 5*time.Second, 10*time.Millisecond)
	h.do(t, "send 1")
	require.Eventually(t, func() bool { return see().Pool }, 5*time.Second, 10*time.Millisecond)
	assert.Zero(t, see().Idle)
}

func TestWatchesThatClimbMakeASuspect(t *testing.T) {
	h := startHolder(t)
	h.do(t, "inotify 1 /")
	s := newScanner(t, func(o *Options) { o.Detail = true })
	now := time.Now()
	var p *Process
	for range 10 {
		now = now.Add(10 * time.Second)
		p = scan(t, s, now, h.pid())
		h.do(t, "watch 1 %s", t.TempDir())
	}
	require.NotNil(t, p.Detail, "the descriptor count is constant, its watches are not")
	assert.EqualValues(t, 10, p.Detail.InotifyWatches)
}

func TestOtherNetworkNamespace(t *testing.T) {
	h := startHolderIn(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET})
	h.do(t, "udp 3")
	s := detailed(t, func(o *Options) { o.Want = func(f *Facts) bool { return f.Parent == int32(testPID) } })
	now := time.Now()
	scan(t, s, now, h.pid())
	p := scan(t, s, now.Add(time.Second), h.pid())
	site := findSite(t, p.Detail, "socket", "")
	assert.EqualValues(t, 3, site.Count)
	assert.Zero(t, site.Seen[TransportTCP], "absence from our tables says nothing")
	assert.Equal(t, 1, s.Stats().OtherNetns)
}

// TestDescriptorsChurn scans while the process opens and closes.
func TestDescriptorsChurn(t *testing.T) {
	h := startHolder(t)
	s := detailed(t, nil)
	dir := t.TempDir()
	now := time.Now()
	for range 30 {
		h.do(t, "file 20 %s", dir)
		h.do(t, "pipe 5")
		now = now.Add(time.Second)
		p := scan(t, s, now, h.pid())
		assert.Equal(t, p.Descriptors, total(p.Detail))
		h.do(t, "close 20 file")
		h.do(t, "close 10 pipe")
	}
	p := scan(t, s, now.Add(time.Second), h.pid())
	assert.Equal(t, p.Descriptors, total(p.Detail))
	assert.Equal(t, len(s.objects.index), len(s.objects.slab)-len(s.objects.free), "nothing is lost in the table")
}

// TestProcessesChurn scans while processes begin and end.
func TestProcessesChurn(t *testing.T) {
	s := newScanner(t, func(o *Options) { o.Detail, o.CommandLine = true, true })
	done := make(chan error, 1)
	go func() {
		var err error
		for range 200 {
			if err = exec.CommandContext(context.Background(), "/bin/true").Run(); err != nil {
				break
			}
		}
		done <- err
	}()
	now := time.Now()
	scans := 0
	for running := true; running; scans++ {
		select {
		case err := <-done:
			require.NoError(t, err)
			running = false
		default:
		}
		now = now.Add(time.Second)
		_, err := s.Scan(now)
		require.NoError(t, err)
		stats := s.Stats()
		assert.Zero(t, stats.Errors[ReasonMalformed])
		assert.Zero(t, stats.Errors[ReasonOther])
	}
	assert.Positive(t, scans)
	_, err := s.Scan(now)
	require.NoError(t, err)
	assert.Equal(t, len(s.objects.index), len(s.objects.slab)-len(s.objects.free))
}

func BenchmarkWalk(b *testing.B) {
	h := startHolder(b)
	var lc net.ListenConfig
	l, err := lc.Listen(b.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { _ = l.Close() })
	h.do(b, "dial 2000 tcp4 %s", l.Addr())
	h.do(b, "file 4000 %s", b.TempDir())
	h.do(b, "pipe 1000")
	h.do(b, "eventfd 4000")
	s := detailed(b, func(o *Options) { o.Want = func(f *Facts) bool { return f.Parent == int32(testPID) } })
	now := time.Now()
	scan(b, s, now, h.pid())
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Scan(now); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.Stats().Descriptors), "descriptors")
}
