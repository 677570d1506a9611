// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const goodStat = "4242 (a) (b c) S 17 4242 4242 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 12345 1048576 300 18446744073709551615 1 1 140722222222 0 0"

func TestParseStat(t *testing.T) {
	t.Parallel()
	var r record
	require.NoError(t, parseStat([]byte(goodStat), &r))
	assert.Equal(t, "a) (b c", string(r.comm))
	assert.Equal(t, record{
		parent: 17, state: 'S', flags: 4194560, startTicks: 12345, userTicks: 250, systemTicks: 50,
		threads: 7, layout: 140722222222, virtualBytes: 1048576, comm: r.comm,
	}, r)
	for name, text := range map[string]string{
		"empty":        "",
		"no name":      "1 S 2 3",
		"swapped":      "1 )x( S 2",
		"cut short":    goodStat[:60],
		"not a number": strings.Replace(goodStat, "12345", "12a45", 1),
		"parent":       strings.Replace(goodStat, " 17 ", " 99999999999 ", 1),
		"overflow":     strings.Replace(goodStat, "12345", "99999999999999999999", 1),
	} {
		assert.ErrorIs(t, parseStat([]byte(text), &r), ErrMalformed, name)
	}
}

func TestParseStatm(t *testing.T) {
	t.Parallel()
	var r record
	require.NoError(t, parseStatm([]byte("5000 300 120 1 0 900 0\n"), &r))
	assert.EqualValues(t, 300, r.residentPages)
	assert.EqualValues(t, 120, r.sharedPages)
	for _, text := range []string{"", "5000", "5000 300", "5000 -3 1", "a b c"} {
		assert.ErrorIs(t, parseStatm([]byte(text), &r), ErrMalformed, text)
	}
}

func TestParseOpenFilesLimit(t *testing.T) {
	t.Parallel()
	const head = "Limit                     Soft Limit           Hard Limit           Units     \n"
	for text, want := range map[string]int64{
		head + "Max open files            1024                 524288               files     \n":       1024,
		head + "Max open files            unlimited            unlimited            files     \n":       Unlimited,
		head + "Max open files            18446744073709551615 18446744073709551615 files     \n":       Unlimited,
		"Max cpu time  unlimited unlimited seconds\nMax open files   20000   20000    files\nMax x 1 1": 20000,
	} {
		got, err := parseOpenFilesLimit([]byte(text))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	for _, text := range []string{"", head, "Max open files", "Max open files x y files", "xMax open files 1 1 files"} {
		_, err := parseOpenFilesLimit([]byte(text))
		assert.ErrorIs(t, err, ErrMalformed, text)
	}
}

func TestParseBootTime(t *testing.T) {
	t.Parallel()
	got, err := parseBootTime([]byte("cpu 1 2\nbtime 1700000000\nprocesses 1\n"))
	require.NoError(t, err)
	assert.Equal(t, time.Unix(1700000000, 0).UTC(), got)
	_, err = parseBootTime([]byte("cpu 1 2\nbtime x\n"))
	assert.ErrorIs(t, err, ErrMalformed)
}

func TestParseCgroup(t *testing.T) {
	t.Parallel()
	id := strings.Repeat("0a", 32)
	const pod = "11111111-2222-3333-4444-555555555555"
	under := strings.ReplaceAll(pod, "-", "_")
	for _, tt := range []struct {
		name, text string
		want       cgroupFacts
	}{
		{"empty", "", cgroupFacts{}},
		{"root", "0::/\n", cgroupFacts{path: "/"}},
		{"systemd unit", "0::/system.slice/nginx.service\n", cgroupFacts{path: "/system.slice/nginx.service", unit: "nginx"}},
		{
			"user manager", "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vim.scope\n",
			cgroupFacts{path: "/user.slice/user-1000.slice/user@1000.service/app.slice/vim.scope"},
		},
		{"docker on version 1", "5:memory:/docker/" + id + "\n1:name=systemd:/\n", cgroupFacts{path: "/docker/" + id, container: id}},
		{
			"docker by systemd", "0::/system.slice/docker-" + id + ".scope\n",
			cgroupFacts{path: "/system.slice/docker-" + id + ".scope", container: id},
		},
		{
			"kubernetes, cgroupfs", "0::/kubepods/burstable/pod" + pod + "/" + id + "\n",
			cgroupFacts{path: "/kubepods/burstable/pod" + pod + "/" + id, container: id, pod: pod},
		},
		{
			"kubernetes, systemd", "0::/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + id + ".scope\n",
			cgroupFacts{path: "/kubepods.slice/kubepods-pod" + under + ".slice/cri-containerd-" + id + ".scope", container: id, pod: pod},
		},
		{
			"podman's monitor", "0::/machine.slice/libpod-conmon-" + id + ".scope\n",
			cgroupFacts{path: "/machine.slice/libpod-conmon-" + id + ".scope"},
		},
		{"hostile", "0::/a\x01\xffb\nx\n::\n", cgroupFacts{path: "/a??b"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, tt.want, parseCgroup([]byte(tt.text)))
		})
	}
}

func TestKindOf(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]struct {
		kind  uint8
		inode uint64
	}{
		"/var/log/x (deleted)":      {kindFile, 0},
		"socket:[123]":              {kindSocket, 123},
		"socket:[x]":                {kindSocket, 0},
		"socket:]9[":                {kindDescriptor, 0},
		"pipe:[7]":                  {kindPipe, 7},
		"anon_inode:[eventfd]":      {kindEventfd, 0},
		"anon_inode:[timerfd]":      {kindTimerfd, 0},
		"anon_inode:[eventpoll]":    {kindEpoll, 0},
		"anon_inode:inotify":        {kindInotify, 0},
		"anon_inode:[perf_event]":   {kindDescriptor, 0},
		"net:[4026531840]":          {kindDescriptor, 0},
		"":                          {kindDescriptor, 0},
		"/memfd:x (deleted)":        {kindFile, 0},
		"anon_inode:[io_uring]\x00": {kindDescriptor, 0},
	} {
		kind, inode := kindOf([]byte(target))
		assert.Equal(t, want.kind, kind, target)
		assert.Equal(t, want.inode, inode, target)
	}
}

func TestFileSite(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"/var/log/app.log":                "/var/log",
		"/var/log/2026-11-23/17/x.log":    "/var/log/#-#-#/#",
		"/data/user12345/f (deleted)":     "/data/user#",
		"/root":                           "/",
		"/":                               "/",
		"/proc/123/task/456/stat":         "/proc/#/task/#",
		"/tmp/dir with (deleted) /x":      "/tmp/dir with (deleted) ",
		"/tmp/dir with (deleted)/x/y/z/f": "/tmp/dir with (deleted)/x/y/z",
	} {
		assert.Equal(t, want, string(appendFileSite(nil, []byte(target))), target)
	}
}

func TestCountWatches(t *testing.T) {
	t.Parallel()
	epoll := "pos:\t0\nflags:\t02\ntfd:        4 events:       1d data: 1\ntfd:        5 events:       1d\n"
	assert.EqualValues(t, 2, countWatches([]byte(epoll), kindEpoll))
	assert.Zero(t, countWatches([]byte(epoll), kindInotify))
	assert.EqualValues(t, 1, countWatches([]byte("inotify wd:1 ino:2"), kindInotify))
}

func TestParsePasswd(t *testing.T) {
	t.Parallel()
	got := parsePasswd([]byte("root:x:0:0:root:/root:/bin/sh\ntoor:x:0:0::/:/\nweb\x01:x:33:33::/:/\nbad:x:-1:0::\n:x:5:5::\nshort\nbig:x:4294967296:1::\n"))
	assert.Equal(t, map[uint32]string{0: "root", 33: "web?"}, got)
}

func TestClimber(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		value func(i int) int64
		steps int
		want  bool
	}{
		{"constant", func(int) int64 { return 50 }, 1000, false},
		{"sawtooth", func(i int) int64 { return int64(i % 3) }, 1000, false},
		{"fast", func(i int) int64 { return int64(i) }, 9, true},
		{"under noise", func(i int) int64 { return int64(i/3 + i%3*40) }, 3 * 24, true},
		{"slow", func(i int) int64 { return int64(i / 100) }, 3 * 192, true},
		{"falling", func(i int) int64 { return int64(10000 - i) }, 1000, false},
		{"single step", func(i int) int64 { return int64(i / 500 * 100) }, 1000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var c climber
			climbed := false
			for i := range tt.steps {
				climbed = c.observe(tt.value(i)) || climbed
			}
			assert.Equal(t, tt.want, climbed)
		})
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	var h Histogram
	_, ok := h.p99Bound(1)
	assert.False(t, ok)
	for range 99 {
		h.add(time.Second)
	}
	h.add(-time.Second)
	bound, ok := h.p99Bound(20)
	assert.True(t, ok)
	assert.Equal(t, time.Second, bound)
	h.add(48 * time.Hour)
	h.add(48 * time.Hour)
	bound, _ = h.p99Bound(20)
	assert.Equal(t, beyondBounds, bound)
	assert.EqualValues(t, 102, h.Count)
	assert.Len(t, Bounds(), len(h.Counts)-1)
}

func FuzzParsers(f *testing.F) {
	f.Add([]byte(goodStat))
	f.Add([]byte("5000 300 120 1 0 900 0\n"))
	f.Add([]byte("Max open files            1024                 524288               files     \n"))
	f.Add([]byte("0::/kubepods.slice/kubepods-pod1.slice/x.service\n3:memory:/a\n"))
	f.Add([]byte("tfd:        4 events:       1d\ninotify wd:1\n"))
	f.Add([]byte("socket:[12"))
	f.Add([]byte("/var/log/1/x (deleted)"))
	f.Add([]byte("root:x:0:0:root:/root:/bin/sh\nbtime 12\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var r record
		if parseStat(b, &r) == nil && (r.threads < 0 || r.virtualBytes < 0 || r.parent < 0) {
			t.Fatalf("negative: %+v", r)
		}
		_ = parseStatm(b, &r)
		if limit, err := parseOpenFilesLimit(b); err == nil && limit < 0 {
			t.Fatalf("limit %d", limit)
		}
		if c := parseCgroup(b); len(c.path) > 4*maxCgroupPath {
			t.Fatalf("path of %d bytes", len(c.path))
		}
		if n := countWatches(b, kindEpoll); n > int64(len(b)) {
			t.Fatalf("%d watches in %d bytes", n, len(b))
		}
		if site := appendFileSite(nil, b); len(site) > len(b) {
			t.Fatalf("site of %d bytes from %d", len(site), len(b))
		}
		kindOf(b)
		parsePasswd(b)
		_, _ = parseBootTime(b)
		_, _ = executablePath(string(b))
	})
}
