// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

func TestParseStatOfOurselves(t *testing.T) {
	t.Parallel()
	st, err := procfs{"/proc"}.stat(int32(os.Getpid()))
	require.NoError(t, err)
	assert.EqualValues(t, os.Getppid(), st.ppid)
	assert.Zero(t, st.flags&kernelThread)
	assert.Positive(t, st.startTicks)
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (a) b) S 0 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 99 1 1"))
	f.Add([]byte(")("))
	f.Fuzz(func(_ *testing.T, text []byte) { _, _ = parseStat(text) })
}

func FuzzSocketInode(f *testing.F) {
	f.Add([]byte("socket:[4711]"))
	f.Add([]byte("socket:[]"))
	f.Fuzz(func(t *testing.T, link []byte) {
		if _, ok := socketInode(link); ok && len(link) < len("socket:[1]") {
			t.Fatal("too short for an inode")
		}
	})
}

func TestCgroupPath(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "/system.slice/x.service", cgroupPath("0::/system.slice/x.service\n"))
	assert.Equal(t, "/user.slice", cgroupPath("4:memory:/a\n1:name=systemd:/user.slice\n0::/\n"))
	assert.Equal(t, "/a/b", cgroupPath("4:memory:/a/b\n0::/\n"))
	assert.Empty(t, cgroupPath("nonsense"))
}

func TestWatchTableIsBounded(t *testing.T) {
	t.Parallel()
	refused := 0
	table := newWatchTable(1, func() { refused++ })
	s := &sight{state: sockdiag.StateCloseWait, hasInfo: true}
	now := time.Now()
	require.NotNil(t, table.observe(objectKey{fd: 1}, "s", s, now, time.Hour))
	assert.Nil(t, table.observe(objectKey{fd: 2}, "s", s, now, time.Hour))
	assert.Equal(t, 1, refused)
	table.sweep(now.Add(time.Second), map[string]bool{"": true})
	assert.Empty(t, table.objects, "not seen any more")
}

func TestWatchBeginsAnewWithEveryByteAndState(t *testing.T) {
	t.Parallel()
	table := newWatchTable(10, func() {})
	key := objectKey{instance: "i", fd: 1}
	start := time.Now()
	look := func(after time.Duration, s sight) *watched {
		s.hasInfo = true
		return table.observe(key, "site", &s, start.Add(after), time.Minute)
	}
	look(0, sight{state: sockdiag.StateEstablished})
	w := look(10*time.Second, sight{state: sockdiag.StateEstablished, sent: 1})
	assert.Zero(t, w.idle(start.Add(10*time.Second)))
	assert.False(t, table.isPool(w), "used after a short gap only")
	w = look(20*time.Second, sight{state: sockdiag.StateCloseWait, sent: 1, received: 1})
	assert.Zero(t, w.idle(start.Add(20*time.Second)), "a change of state")
	w = look(30*time.Second, sight{state: sockdiag.StateCloseWait, sent: 1, received: 1})
	assert.Equal(t, 10*time.Second, w.idle(start.Add(30*time.Second)))
	w = look(2*time.Minute, sight{state: sockdiag.StateCloseWait, sent: 2, received: 1})
	assert.True(t, table.isPool(w), "used again after a long gap")
	other := &watched{key: objectKey{instance: "i", fd: 9}, site: "site", last: sight{state: sockdiag.StateCloseWait}}
	assert.True(t, table.isPool(other), "and with it its site")
	other.last.state = sockdiag.StateEstablished
	assert.False(t, table.isPool(other), "but only in that state")
}

func BenchmarkPropose(b *testing.B) {
	e, err := NewEngine(Settings{Directory: b.TempDir()})
	require.NoError(b, err)
	f := findingForBench()
	b.ReportAllocs()
	for b.Loop() {
		e.Propose(f)
	}
}
