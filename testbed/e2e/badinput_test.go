// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/leak"
)

// TestBadConfiguration: each mistake and the words by which it is told.
func TestBadConfiguration(t *testing.T) {
	w := newBareWorld(t)
	file := filepath.Join(w.dir, "a-file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, test := range []struct {
		name  string
		path  string
		value any
		want  []string
	}{
		{"unknown key", "receivers::memguard::colection_interval", "1s", []string{"colection_interval", "memguard"}},
		{"negative interval", "receivers::memguard::collection_interval", "-1s", []string{"collection_interval: -1s", "memguard"}},
		{"auto_fix id that does not exist", "processors::leak_detect::remediation", "auto_fix/other", []string{"auto_fix/other", "leak_detect"}},
		{"id of another type", "processors::leak_detect::remediation", "file_storage", []string{"file_storage", "remediation", "leak_detect"}},
		{"audit id that does not exist", "receivers::memguard::audit", "auto_fix/other", []string{"auto_fix/other", "audit"}},
		{"audit id of another type", "receivers::memguard::audit", "file_storage", []string{"file_storage", "audit"}},
		{"storage id of another type", "processors::leak_detect::storage", "auto_fix", []string{"auto_fix", "storage"}},
		{"storage id that does not exist", "processors::leak_detect::storage", "file_storage/other", []string{"file_storage/other"}},
		{"root_path without /proc", "receivers::memguard::root_path", w.dir, []string{"root_path", w.dir, "proc"}},
		{"policy that names no action", "extensions::auto_fix::policies", []any{map[string]any{"name": "mine"}}, []string{"polic", "action", "socket.shutdown"}},
		{
			"policy with an unknown action", "extensions::auto_fix::policies",
			[]any{map[string]any{"name": "mine", "actions": list("reboot")}},
			[]string{`"reboot"`, "socket.shutdown", "socket.destroy", "notify"},
		},
		{"unknown mode", "extensions::auto_fix::mode", "yolo", []string{"mode", `"yolo"`, "dry_run"}},
		{"directory below a file", "extensions::auto_fix::directory", file + "/state", []string{"directory", file}},
		{"directory that is not writable", "extensions::auto_fix::directory", "/proc/memguard", []string{"directory", "/proc/memguard"}},
		{"time_scale", "processors::leak_detect::time_scale", -1, []string{"time_scale", "-1"}},
		{"max_age", "connectors::leak_event::max_age", "-1s", []string{"max_age", "-1s"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			said := w.fails(w.config().set(test.path, test.value))
			for _, want := range test.want {
				assert.Contains(t, said, want)
			}
			lines := strings.Split(strings.TrimSpace(said), "\n")
			t.Log(lines[len(lines)-1])
		})
	}
}

// TestOneLeakDetectInTwoPipelines shares one state: it starts, and a process
// is judged once.
func TestOneLeakDetectInTwoPipelines(t *testing.T) {
	w := newWorld(t)
	leaky := w.leaky("d-leaky", "--leak", "close_wait=5/s", "--use", "close_wait=5/s")
	cfg := w.config()
	endpoint := w.withOTLP(cfg)
	cfg.set("service::pipelines::metrics::receivers", list("memguard"))
	cfg.set("service::pipelines::metrics/2", map[string]any{
		"receivers": list("otlp"), "processors": list("leak_detect"), "exporters": list("leak_event", "prometheus"),
	})
	c := w.start(cfg)
	require.NoError(t, newClient(t, endpoint).export(oddMetrics(t)))
	w.awaitEvent(leaky.PID, "memguard.leak.confirmed", 60*time.Second)
	require.NoError(t, c.Stop(15*time.Second))
	assert.Len(t, w.events(leaky.PID, "memguard.leak.confirmed"), 1)
}

// oddMetrics is what a hostile or broken client may send.
func oddMetrics(t *testing.T) pmetric.Metrics {
	t.Helper()
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	identify(t, rm.Resource().Attributes(), os.Getpid(), "odd")
	metrics := rm.ScopeMetrics().AppendEmpty().Metrics()
	now := time.Now()
	for _, value := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, math.MaxFloat64} {
		sum(metrics, "process.open_file_descriptors", now, now, 0).SetDoubleValue(value)
	}
	sum(metrics, "", now, now, 1)
	metrics.AppendEmpty() // no name, no type
	many := sum(metrics, leak.MetricDescriptorCount, now, now, 1)
	for i := range 10_000 {
		many.Attributes().PutStr("attribute."+strconv.Itoa(i), strings.Repeat("x", 20))
	}
	late := sum(metrics, leak.MetricDescriptorCount, now, now.Add(1000*time.Hour), 1)
	late.SetStartTimestamp(pcommon.Timestamp(math.MaxUint64))
	sum(metrics, leak.MetricThreadCount, now, time.Unix(0, 0), 1)
	metrics.AppendEmpty().SetEmptyHistogram().DataPoints().AppendEmpty().ExplicitBounds().FromRaw([]float64{math.NaN(), 1})
	lifetime := metrics.AppendEmpty()
	lifetime.SetName(leak.MetricObjectLifetime)
	point := lifetime.SetEmptyHistogram().DataPoints().AppendEmpty()
	point.ExplicitBounds().FromRaw([]float64{3, 2, 1})
	point.BucketCounts().FromRaw([]uint64{math.MaxUint64})
	return md
}

// TestOddMetrics: NaN, empty names, 10,000 attributes, and worse. The
// collector goes on, and counts what it refused.
func TestOddMetrics(t *testing.T) {
	w := newBareWorld(t)
	cfg := w.config()
	cfg.set("service::pipelines::metrics::exporters", list("leak_event"))
	endpoint := w.withOTLP(cfg)
	c := w.start(cfg)
	otlp := newClient(t, endpoint)
	for range 5 {
		require.NoError(t, otlp.export(oddMetrics(t)))
	}
	require.True(t, c.Alive())
	require.Eventually(t, func() bool { return len(lines(c.own(), "otelcol_leak_detect", "refused", "reason=")) > 0 },
		10*time.Second, 100*time.Millisecond, "what was refused is counted by reason")
	t.Log("\n" + strings.Join(lines(c.own(), "otelcol_leak_detect"), "\n"))
	assert.Empty(t, w.sink.Events())
	assert.NotContains(t, c.Log(), "panic")
	assert.NotContains(t, c.Log(), "\terror\t")
}
