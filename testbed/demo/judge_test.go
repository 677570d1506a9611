// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-memguard/memguard/testbed/load"
	"github.com/otel-memguard/memguard/testbed/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func event(pid int, name string) rig.Event {
	return rig.Event{Name: name, Body: "body", Resource: map[string]any{"process.pid": pid}, Attrs: map[string]any{
		"memguard.leak.basis": "proof", "memguard.leak.site": "127.0.0.1:9", "memguard.leak.growth.objects": 2.0,
	}}
}

func good() *evidence {
	server := func(name string, pid int) serverEvidence {
		return serverEvidence{
			name: name, pid: pid, poolKept: true, load: load.Summary{Sent: 9, OK: 9},
			truth: rig.Truth{Pool: make([]rig.Socket, 16)},
		}
	}
	e := &evidence{collectorAlive: true, took: time.Minute, servers: [2]serverEvidence{server("leaky-shop", 10), server("fixed-shop", 11)}}
	e.servers[0].shut = 2
	e.servers[0].truth.Leaked = make([]rig.Socket, 3)
	e.events = []rig.Event{event(10, nameConfirm), event(10, prefixRepair+"applied"), event(10, nameVerified)}
	return e
}

func failed(checks []check) (out []string) {
	for _, c := range checks {
		if !c.ok {
			out = append(out, c.what)
		}
	}
	return out
}

func TestEveryConditionCanFailAlone(t *testing.T) {
	t.Parallel()
	require.Empty(t, failed(judge(good())))
	for want, spoil := range map[string]func(*evidence){
		"collector and servers ran to the end":              func(e *evidence) { e.collectorAlive = false },
		"the leak was confirmed and reported over OTLP":     func(e *evidence) { e.events = e.events[1:] },
		"leaked sockets were shut":                          func(e *evidence) { e.servers[0].disputed = 1 },
		"each repair that was reported as verified is real": func(e *evidence) { e.events = append(e.events, e.events[2], e.events[2]) },
		"the fixed twin stayed silent and untouched":        func(e *evidence) { e.events = append(e.events, event(11, prefixLeak+"likely")) },
		"the pool of leaky-shop was left alone":             func(e *evidence) { e.servers[0].poolErr = errors.New("broken") },
		"the pool of fixed-shop was left alone":             func(e *evidence) { e.servers[1].poolKept = false },
		"the load on leaky-shop saw no failure and no reset": func(e *evidence) {
			e.servers[0].load.Failed, e.servers[0].load.Reset = 1, 1
		},
		"the load on fixed-shop saw no failure and no reset": func(e *evidence) { e.servers[1].load.OK = 0 },
	} {
		e := good()
		spoil(e)
		assert.Equal(t, []string{want}, failed(judge(e)))
	}
	e := good()
	e.servers[0].shut = 0
	assert.Contains(t, failed(judge(e)), "leaked sockets were shut")
	e = good()
	e.errs = []error{nil, errors.New("gone")}
	assert.Equal(t, []string{"collector and servers ran to the end"}, failed(judge(e)))
}

func TestShutIsWhatKernelAndOwnerAgreeOn(t *testing.T) {
	t.Parallel()
	at := netip.MustParseAddrPort("127.0.0.1:1")
	table := map[uint64]rig.TCPEntry{
		1: {Local: at, State: rig.TCPCloseWait}, 2: {Local: at, State: rig.TCPLastAck}, 3: {Local: at, State: rig.TCPCloseWait},
		6: {Local: at, State: rig.TCPEstablished},
	}
	shut, disputed := shutInKernel([]rig.Socket{
		{Inode: 1, State: "close_wait"},  // still leaked
		{Inode: 2, State: "last_ack"},    // on its way out
		{Inode: 3, State: "close"},       // disputed
		{Inode: 4, State: "close"},       // shut, in no table
		{Inode: 5, State: "close_wait"},  // leaked after the table was read
		{Inode: 6, State: "established"}, // never shut
	}, table)
	assert.Equal(t, 2, shut)
	assert.Equal(t, 1, disputed)
}

func TestSamePool(t *testing.T) {
	t.Parallel()
	a := []rig.Socket{{Inode: 1, Local: "x", State: "established"}, {Inode: 2, Local: "y", State: "established"}}
	assert.True(t, samePool(a, a))
	assert.False(t, samePool(a, a[:1]))
	assert.False(t, samePool(a, []rig.Socket{a[0], {Inode: 3, Local: "y", State: "established"}}))
	assert.False(t, samePool(a, []rig.Socket{a[0], {Inode: 2, Local: "y", State: "close"}}))
}

func TestAccount(t *testing.T) {
	t.Parallel()
	for _, tty := range []bool{false, true} {
		var out bytes.Buffer
		p := &printer{out: &out, tty: tty, began: time.Now(), repairs: map[string]int{}, refused: map[string]int{}, told: map[string]int{}}
		e := good()
		p.progress(&e.servers[0].truth, e.servers[0].load)
		for i := range e.events {
			p.event(&e.events[i])
		}
		p.event(&e.events[0])
		for range 9 {
			refusal := event(10, prefixRepair+"refused")
			p.event(&refusal)
		}
		for _, name := range []string{prefixRepair + "failed", prefixLeak + "resolved", "something.else"} {
			other := event(10, name)
			p.event(&other)
		}
		p.table(e)
		assert.True(t, p.verdict(judge(e)))
		e.collectorAlive = false
		assert.False(t, p.verdict(judge(e)))
		text := out.String()
		for _, want := range []string{"site 127.0.0.1:9 · basis proof · rate/s 2", "no. 8", "leaky-shop", "FAIL", "sockets leaked", "again (no. 2)"} {
			assert.Contains(t, text, want)
		}
		assert.Equal(t, tty, bytes.Contains(out.Bytes(), []byte("\x1b[")))
		assert.NotContains(t, text, "no. 9")
	}
}

func TestParse(t *testing.T) {
	t.Parallel()
	opts, err := parse([]string{"--duration", "9s", "--keep", "--collector", "x"})
	require.NoError(t, err)
	assert.Equal(t, options{collector: "x", config: "examples/quickstart/config.yaml", duration: 9 * time.Second, keep: true}, opts)
	_, err = parse([]string{"now"})
	require.ErrorContains(t, err, `unexpected argument "now"`)
	_, err = parse([]string{"--duration", "soon"})
	require.Error(t, err)
}

func TestWithoutACollectorItSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	_, err := absolute(filepath.Join(dir, "absent"))
	require.ErrorContains(t, err, "run 'make build' first")
	assert.Equal(t, 2, run(t.Context(), options{collector: filepath.Join(dir, "absent"), duration: time.Second}))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	assert.Empty(t, left, "nothing is left behind")
}

func TestPrivileges(t *testing.T) {
	t.Parallel()
	sole, lost := privileges()
	if n, _ := unreadable("/proc"); n == 0 {
		assert.Equal(t, "host", sole)
	} else {
		assert.Equal(t, "same_user", sole)
		assert.NotEmpty(t, lost)
	}
	n, _ := unreadable(t.TempDir())
	assert.Zero(t, n)
}
