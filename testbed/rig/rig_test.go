// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package rig

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/plog/plogotlp"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func stop(t *testing.T, c *Child) {
	t.Helper()
	assert.NoError(t, c.Stop(10*time.Second), c.Tail(2000))
}

// TestTargetsLeakWhatTheySay starts both servers for real and compares what
// they say of themselves with what the kernel says.
func TestTargetsLeakWhatTheySay(t *testing.T) {
	t.Parallel()
	ctx, dir := t.Context(), t.TempDir()
	targets, err := Targets(ctx, "", dir)
	require.NoError(t, err)
	up, hello, err := StartUpstream(ctx, targets, dir, nil)
	require.NoError(t, err)
	defer stop(t, up)

	const leaks = "close_wait=100/s:20,unread=100/s:3,file=100/s:10,goroutine=100/s:10,inotify=100/s:10,timer=100/s:10,cache=100/s:10"
	leaky, err := StartLeaky(ctx, targets, dir, "leaky-shop", hello, nil,
		"--leak", leaks, "--use", "file=50/s", "--hold", "20ms", "--share-after", "20")
	require.NoError(t, err)
	defer stop(t, leaky.Child)
	fixed, err := StartLeaky(ctx, targets, dir, "fixed-shop", hello, nil, "--leak", leaks, "--hold", "20ms", "--fixed")
	require.NoError(t, err)
	defer stop(t, fixed.Child)

	want := map[string]int{"close_wait": 20, "unread": 3, "file": 10, "goroutine": 10, "inotify": 10, "timer": 10, "cache": 10}
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		truth, err := leaky.Truth(ctx)
		require.NoError(c, err)
		for kind, n := range want {
			assert.Equal(c, n, truth.Tallies[kind].Leaked, kind)
			assert.Zero(c, truth.Tallies[kind].Errors, kind)
		}
		assert.Equal(c, 20, truth.Count("close_wait"))
		assert.Len(c, truth.Pool, 16)
		assert.Len(c, truth.Workers, 1)
		assert.Positive(c, truth.Tallies["file"].Closed)
		assert.False(c, truth.Fixed)
	}, 20*time.Second, 50*time.Millisecond)
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		truth, err := fixed.Truth(ctx)
		require.NoError(c, err)
		for kind, n := range want {
			assert.Zero(c, truth.Tallies[kind].Leaked, kind)
			assert.Equal(c, n, truth.Tallies[kind].Closed, kind)
		}
		assert.Empty(c, truth.Leaked)
		assert.True(c, truth.Fixed)
	}, 20*time.Second, 50*time.Millisecond)

	truth, err := leaky.Truth(ctx)
	require.NoError(t, err)
	table, err := TCPTable()
	require.NoError(t, err)
	byInode := map[uint64]TCPEntry{}
	for _, entry := range table {
		byInode[entry.Inode] = entry
	}
	for _, socket := range truth.Leaked {
		entry := byInode[socket.Inode]
		assert.Equal(t, uint8(TCPCloseWait), entry.State)
		assert.Equal(t, socket.Local, entry.Local.String())
		assert.Equal(t, socket.Remote, entry.Remote.String())
	}
	_, err = Get(ctx, leaky.URL("/work"))
	require.NoError(t, err)
	require.NoError(t, leaky.CheckPool(ctx))
	require.NoError(t, fixed.CheckPool(ctx))
}

func TestAProgramThatFailsToStartSaysWhy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := filepath.Join(dir, "broken")
	require.NoError(t, os.WriteFile(script, []byte("#!/bin/sh\necho the reason >&2\nexit 3\n"), 0o700))
	_, _, err := Start(t.Context(), Spec{Name: "broken-child", Path: script, Dir: dir, Ready: true})
	require.ErrorContains(t, err, "broken-child did not become ready")
	require.ErrorContains(t, err, "the reason")

	_, _, err = Start(t.Context(), Spec{Name: "absent", Path: filepath.Join(dir, "absent"), Dir: dir})
	require.ErrorContains(t, err, "start absent")

	_, err = Targets(t.Context(), dir, "")
	require.ErrorContains(t, err, "targets: ")
}

func TestSinkReceivesEvents(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	sink, err := NewSink(ctx)
	require.NoError(t, err)
	defer func() { assert.NoError(t, sink.Close(context.WithoutCancel(ctx))) }()
	_, changed := sink.Since(0)

	conn, err := grpc.NewClient(sink.Endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer func() { assert.NoError(t, conn.Close()) }()
	logs := plog.NewLogs()
	rl := logs.ResourceLogs().AppendEmpty()
	rl.Resource().Attributes().PutInt("process.pid", 7)
	record := rl.ScopeLogs().AppendEmpty().LogRecords().AppendEmpty()
	record.SetEventName("memguard.leak.confirmed")
	record.Attributes().PutStr("memguard.leak.site", "here")
	_, err = plogotlp.NewGRPCClient(conn).Export(ctx, plogotlp.NewExportRequestFromLogs(logs))
	require.NoError(t, err)

	<-changed
	events := sink.Events()
	require.Len(t, events, 1)
	assert.Equal(t, "memguard.leak.confirmed", events[0].Name)
	assert.Equal(t, "7", events[0].Text("process.pid"))
	assert.Equal(t, "here", events[0].Text("memguard.leak.site"))
	assert.Empty(t, events[0].Text("absent"))
	assert.Zero(t, sink.Dropped())
}

func TestTCPTableFindsOurOwnSocket(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Logf("%s: %v", address, err)
			continue
		}
		defer listener.Close()
		table, err := TCPTable()
		require.NoError(t, err)
		found := false
		for _, entry := range table {
			found = found || entry.Local.String() == listener.Addr().String()
		}
		assert.True(t, found, "%s is in the table", listener.Addr())
	}
}

func TestParseTCPTable(t *testing.T) {
	t.Parallel()
	const header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	got, err := parseTCPTable([]byte(header +
		"   0: 0100007F:1F90 0200007F:C350 08 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0 20 4 30 10 -1\n"))
	require.NoError(t, err)
	assert.Equal(t, []TCPEntry{{
		Local: netip.MustParseAddrPort("127.0.0.1:8080"), Remote: netip.MustParseAddrPort("127.0.0.2:50000"),
		State: TCPCloseWait, Inode: 4242,
	}}, got)
	for name, line := range map[string]string{
		"short":   "0: a b",
		"address": "0: 0100007:1F90 0200007F:C350 08 0 0 0 0 0 1",
		"port":    "0: 0100007F:XXXX 0200007F:C350 08 0 0 0 0 0 1",
		"remote":  "0: 0100007F:1F90 0200007FC350 08 0 0 0 0 0 1",
		"state":   "0: 0100007F:1F90 0200007F:C350 zz 0 0 0 0 0 1",
		"inode":   "0: 0100007F:1F90 0200007F:C350 08 0 0 0 0 0 x",
	} {
		_, err := parseTCPTable([]byte(header + line))
		require.ErrorContains(t, err, "line 2", name)
	}
}

func FuzzParseTCPTable(f *testing.F) {
	f.Add([]byte("header\n 0: 0100007F:1F90 0200007F:C350 08 0 0 0 0 0 1\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		entries, err := parseTCPTable(text)
		if err == nil {
			for _, e := range entries {
				require.True(t, e.Local.IsValid())
			}
		}
	})
}
