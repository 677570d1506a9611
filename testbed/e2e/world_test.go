// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/testbed/rig"
)

// world is what one test runs in: a directory, an upstream, an OTLP receiver.
// All that it starts ends with the test.
type world struct {
	t         *testing.T
	dir       string // short, since the path of a unix socket is bounded
	binary    string
	targets   string
	upstream  *rig.Child
	hello     rig.Announcement
	sink      *rig.Sink
	collected int
	attr      *syscall.SysProcAttr // of every process that is started
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := newBareWorld(t)
	var err error
	w.targets, err = shared.targets()
	require.NoError(t, err)
	w.upstream, w.hello, err = rig.StartUpstream(t.Context(), w.targets, w.dir, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.upstream.Stop(10*time.Second), w.upstream.Tail(2000)) })
	return w
}

// newBareWorld has no upstream: for tests in which nothing leaks.
func newBareWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, binary: collectorPath(t)}
	var err error
	w.dir, err = os.MkdirTemp(shared.dir, "w")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(w.dir, 0o777)) // see TestMain
	w.sink, err = rig.NewSink(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, w.sink.Close(context.Background()))
		if t.Failed() {
			t.Logf("events that came: %s", w)
		}
	})
	return w
}

func (w *world) leaky(name string, args ...string) *rig.Target {
	w.t.Helper()
	args = append([]string{"--dir", w.mkdir(name + "-data")}, args...)
	target, err := rig.StartLeaky(w.t.Context(), w.targets, w.dir, name, w.hello, w.attr, args...)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { assert.NoError(w.t, target.Stop(10*time.Second), target.Tail(2000)) })
	return target
}

func (w *world) mkdir(name string) string {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w.t, os.MkdirAll(path, 0o700))
	if w.attr != nil && w.attr.Credential != nil {
		require.NoError(w.t, os.Chown(path, int(w.attr.Credential.Uid), int(w.attr.Credential.Gid)))
	}
	return path
}

func (w *world) truth(target *rig.Target) rig.Truth {
	w.t.Helper()
	truth, err := target.Truth(w.t.Context())
	require.NoError(w.t, err)
	return truth
}

// collector is a running collector and where it can be looked into.
type collector struct {
	*rig.Child
	w          *world
	state      string // directory of auto_fix
	prometheus string
	telemetry  string
}

// config is a configuration like that of the quick start, faster. The policy
// allows socket.shutdown in the programs named *-leaky.
func (w *world) config() settings {
	w.t.Helper()
	free := func() string {
		address, err := rig.FreePort(w.t.Context())
		require.NoError(w.t, err)
		return address
	}
	host, portText, err := net.SplitHostPort(free())
	require.NoError(w.t, err)
	port, err := strconv.Atoi(portText)
	require.NoError(w.t, err)
	state := w.mkdir("state")
	s := settings{}
	s.set("receivers::memguard", map[string]any{
		"collection_interval": "500ms", "initial_delay": "100ms", "audit": "auto_fix", "abandoned_min_age": "2s",
	})
	s.set("receivers::memguard::include::executable", map[string]any{
		"match_type": "glob", "names": list(w.dir + "/*"),
	})
	s.set("processors::leak_detect", map[string]any{
		"remediation": "auto_fix", "storage": "file_storage", "time_scale": 60,
	})
	s.set("connectors::leak_event", map[string]any{})
	s.set("exporters::otlp_grpc", map[string]any{
		"endpoint": w.sink.Endpoint, "tls": map[string]any{"insecure": true},
		"sending_queue": map[string]any{"batch": map[string]any{"flush_timeout": "100ms"}},
	})
	s.set("exporters::prometheus", map[string]any{
		"endpoint": free(), "resource_to_telemetry_conversion": map[string]any{"enabled": true},
	})
	s.set("extensions::file_storage", map[string]any{"directory": state + "/storage", "create_directory": true})
	s.set("extensions::auto_fix", map[string]any{
		"mode": "enforce", "directory": state, "runtime_directory": state, "watch_interval": "500ms",
		"limits": map[string]any{"cooldown": "500ms", "process_per_minute": 6000, "executable_per_minute": 6000, "total_per_minute": 6000},
		"policies": []any{map[string]any{
			"name":        "leaky only",
			"match":       map[string]any{"kinds": list("socket"), "executables": list("*-leaky")},
			"actions":     list("socket.shutdown"),
			"min_idle":    "2s",
			"sole_holder": "same_user",
			"limits":      map[string]any{"per_pass_fraction": 0.5},
		}},
	})
	s.set("service::extensions", list("file_storage", "auto_fix"))
	s.set("service::pipelines::metrics", map[string]any{
		"receivers": list("memguard"), "processors": list("leak_detect"), "exporters": list("leak_event", "prometheus"),
	})
	s.set("service::pipelines::logs", map[string]any{
		"receivers": list("memguard", "leak_event"), "exporters": list("otlp_grpc"),
	})
	s.set("service::telemetry::metrics", map[string]any{"level": "normal", "readers": []any{map[string]any{
		"pull": map[string]any{"exporter": map[string]any{"prometheus": map[string]any{"host": host, "port": port}}},
	}}})
	return s
}

// start starts a collector and waits until it says that it is ready.
func (w *world) start(s settings) *collector {
	w.t.Helper()
	c := w.launch(s)
	require.Eventually(w.t, func() bool {
		return !c.Alive() || strings.Contains(c.Log(), "Everything is ready")
	}, 20*time.Second, 20*time.Millisecond, "the collector does not become ready")
	require.True(w.t, c.Alive(), "the collector ended:\n%s", c.Tail(4000))
	return c
}

func (w *world) launch(s settings) *collector {
	w.t.Helper()
	w.collected++
	name := fmt.Sprintf("collector-%d", w.collected)
	path := filepath.Join(w.dir, name+".yaml")
	require.NoError(w.t, os.WriteFile(path, s.yaml(w.t), 0o644))
	child, _, err := rig.Start(w.t.Context(), rig.Spec{
		Name: name, Path: w.binary, Args: []string{"--config", path}, Dir: w.dir, Attr: w.attr,
	})
	require.NoError(w.t, err)
	c := &collector{Child: child, w: w, state: filepath.Join(w.dir, "state")}
	if exporters, ok := s["exporters"].(map[string]any); ok {
		if prometheus, ok := exporters["prometheus"].(map[string]any); ok {
			c.prometheus = fmt.Sprint(prometheus["endpoint"])
		}
	}
	c.telemetry = telemetryAddress(s)
	w.t.Cleanup(func() {
		if c.Alive() {
			assert.NoError(w.t, c.Stop(15*time.Second), "the collector ends in good order:\n%s", c.Tail(3000))
		}
		if w.t.Failed() {
			w.t.Logf("log of %s:\n%s", name, c.Tail(6000))
		}
	})
	return c
}

func telemetryAddress(s settings) string {
	readers, ok := s["service"].(map[string]any)["telemetry"].(map[string]any)["metrics"].(map[string]any)["readers"].([]any)
	if !ok || len(readers) == 0 {
		return ""
	}
	p, ok := readers[0].(map[string]any)["pull"].(map[string]any)["exporter"].(map[string]any)["prometheus"].(map[string]any)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%v:%v", p["host"], p["port"])
}

// fails runs the collector with a configuration that it must refuse, and
// returns what it says.
func (w *world) fails(s settings) string {
	w.t.Helper()
	w.collected++
	path := filepath.Join(w.dir, fmt.Sprintf("bad-%d.yaml", w.collected))
	require.NoError(w.t, os.WriteFile(path, s.yaml(w.t), 0o600))
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, w.binary, "--config", path).CombinedOutput()
	require.Error(w.t, err, "it must not start:\n%s", out)
	require.NoError(w.t, ctx.Err(), "it must end by itself:\n%s", out)
	assert.NotContains(w.t, string(out), "panic:")
	return string(out)
}

// page returns the prometheus exporter's page.
func (c *collector) page() string {
	text, err := rig.Get(c.w.t.Context(), "http://"+c.prometheus+"/metrics")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// own returns the page of the collector's own telemetry.
func (c *collector) own() string {
	text, err := rig.Get(c.w.t.Context(), "http://"+c.telemetry+"/metrics")
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// lines returns the lines of a page that begin with name and hold all parts.
func lines(page, name string, parts ...string) []string {
	var out []string
	for line := range strings.SplitSeq(page, "\n") {
		keep := strings.HasPrefix(line, name)
		for _, part := range parts {
			keep = keep && strings.Contains(line, part)
		}
		if keep {
			out = append(out, line)
		}
	}
	return out
}

// events returns the events of one process with a name, "" for all names.
func (w *world) events(pid int, name string) []rig.Event {
	var out []rig.Event
	for _, e := range w.sink.Events() {
		if (name == "" || e.Name == name) && (pid == 0 || e.Text("process.pid") == strconv.Itoa(pid)) {
			out = append(out, e)
		}
	}
	return out
}

// awaitEvent waits for the first event of a process with a name.
func (w *world) awaitEvent(pid int, name string, timeout time.Duration) rig.Event {
	w.t.Helper()
	require.Eventually(w.t, func() bool { return len(w.events(pid, name)) > 0 }, timeout, 50*time.Millisecond,
		"no event %s of process %d", name, pid)
	return w.events(pid, name)[0]
}

// String lists the names of the events that came.
func (w *world) String() string {
	counts := map[string]int{}
	for _, e := range w.sink.Events() {
		counts[e.Name+" pid "+e.Text("process.pid")]++
	}
	return fmt.Sprint(counts)
}

// awaitConfirmed waits for a confirmed finding that rests on one basis.
func (w *world) awaitConfirmed(pid int, basis string, timeout time.Duration) rig.Event {
	w.t.Helper()
	var found *rig.Event
	require.Eventually(w.t, func() bool {
		for _, e := range w.events(pid, "memguard.leak.confirmed") {
			if e.Text("memguard.leak.basis") == basis {
				found = &e
			}
		}
		return found != nil
	}, timeout, 50*time.Millisecond, "no finding of process %d confirmed by %s", pid, basis)
	return *found
}
