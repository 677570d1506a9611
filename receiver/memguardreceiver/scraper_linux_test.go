// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/pkg/pdatatest/pmetrictest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver/receivertest"
	"go.opentelemetry.io/collector/scraper/scraperhelper"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-memguard/memguard/internal/hostproc"
	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

const (
	fixtureBoot = 1700000000
)

// fixture makes a root with a proc of one good process, one that is malformed
// and one that ended.
func fixture(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	write := func(name, text string) {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")
	write("etc/passwd", "")
	write("proc/stat", "btime 1700000000\n")
	write("proc/sys/kernel/random/boot_id", "11111111-1111-1111-1111-111111111111\n")
	write("proc/7/stat", "7 (web) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 7 0 12345 1048576 300 18446744073709551615 1 1 99 0")
	write("proc/7/statm", "256 300 120 1 0 900 0\n")
	write("proc/7/limits", "Limit Soft Limit Hard Limit Units\nMax open files            1024                 4096                 files\n")
	write("proc/7/cgroup", "0::/system.slice/web.service\n")
	write("proc/7/comm", "web\n")
	write("opt/web/bin", "")
	require.NoError(t, os.Symlink("/opt/web/bin", filepath.Join(root, "proc/7/exe")))
	require.NoError(t, os.Mkdir(filepath.Join(root, "proc/7/fd"), 0o700))
	for fd, target := range map[string]string{
		"0": "/dev/null", "1": "pipe:[11]", "2": "pipe:[11]", "3": "/var/log/1/web.log", "4": "/var/log/2/web.log",
		"5": "anon_inode:[eventpoll]", "6": "anon_inode:[eventfd]", "7": "/bad\x01\xff/x",
	} {
		require.NoError(t, os.Symlink(target, filepath.Join(root, "proc/7/fd", fd)))
	}
	write("proc/7/fdinfo/5", "pos:\t0\ntfd:        4 events:       1d\ntfd:        6 events:       1d\n")
	write("proc/8/stat", "8 (bad) S x")
	require.NoError(t, os.MkdirAll(filepath.Join(root, "proc/9"), 0o700))
	return root
}

func fixtureScraper(t *testing.T, change func(*Config)) *processScraper {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.RootPath = fixture(t)
	cfg.Detail.Include.Executable.Names = []string{"bin"}
	if change != nil {
		change(cfg)
	}
	s, err := newProcessScraper(receivertest.NewNopSettings(metadata.Type), cfg, &leak.Provenance{})
	require.NoError(t, err)
	require.NoError(t, s.start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { assert.NoError(t, s.shutdown(context.Background())) })
	clock := time.Unix(fixtureBoot+3600, 0)
	s.now = func() time.Time { return clock }
	return s
}

func TestScrapeFixture(t *testing.T) {
	s := fixtureScraper(t, nil)
	got, err := s.scrape(t.Context())
	require.NoError(t, err)
	stats := s.scanner.Stats()
	assert.Equal(t, 1, stats.Processes)
	assert.Equal(t, 1, stats.Errors[hostproc.ReasonMalformed])
	assert.Equal(t, 1, stats.Errors[hostproc.ReasonGone])

	golden := filepath.Join("testdata", "fixture.json")
	if os.Getenv("UPDATE_GOLDEN") != "" {
		text, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(got)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(golden, text, 0o600))
	}
	text, err := os.ReadFile(golden)
	require.NoError(t, err)
	want, err := (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(text)
	require.NoError(t, err)
	require.NoError(t, pmetrictest.CompareMetrics(want, got,
		pmetrictest.IgnoreResourceAttributeValue("service.instance.id"), // of the device and inode of a temporary file
		pmetrictest.IgnoreResourceAttributeValue("process.owner"),
		pmetrictest.IgnoreMetricsOrder(), pmetrictest.IgnoreMetricDataPointsOrder()))
}

func TestHistogramsCanBeOff(t *testing.T) {
	s := fixtureScraper(t, func(c *Config) { c.Detail.Lifetimes = false })
	got, err := s.scrape(t.Context())
	require.NoError(t, err)
	metrics := got.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics()
	for i := range metrics.Len() {
		assert.NotEqual(t, pmetric.MetricTypeHistogram, metrics.At(i).Type())
	}
}

func TestDetailOff(t *testing.T) {
	s := fixtureScraper(t, func(c *Config) { c.Detail.Enabled = false })
	got, err := s.scrape(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 8, got.MetricCount())
	assert.Equal(t, 9, got.DataPointCount())
}

func TestExcludeDropsAll(t *testing.T) {
	s := fixtureScraper(t, func(c *Config) {
		c.Exclude.Cgroup = NameMatchConfig{Names: []string{"*web*"}, MatchType: MatchTypeGlob}
	})
	got, err := s.scrape(t.Context())
	require.NoError(t, err)
	assert.Zero(t, got.ResourceMetrics().Len())
}

func TestFixturePIDsAreNotOurs(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	cfg := createDefaultConfig().(*Config)
	cfg.RootPath = fixture(t)
	set := receivertest.NewNopSettings(metadata.Type)
	set.Logger = zap.New(core)
	p := &leak.Provenance{}
	s, err := newProcessScraper(set, cfg, p)
	require.NoError(t, err)
	require.NoError(t, s.start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { _ = s.shutdown(context.Background()) })
	for range 3 {
		_, err = s.scrape(t.Context())
		require.NoError(t, err)
	}
	assert.False(t, p.OwnPIDs)
	assert.Equal(t, 1, logs.Len(), "said once")
}

func TestUnreadableTableIsSaidOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	s := fixtureScraper(t, nil)
	s.logger = zap.New(core)
	require.NoError(t, s.scanner.Close())
	for range 3 {
		got, err := s.scrape(t.Context())
		require.NoError(t, err)
		assert.Zero(t, got.MetricCount())
	}
	assert.Equal(t, 1, logs.Len())
}

func TestMissedTicks(t *testing.T) {
	s := &processScraper{cfg: createDefaultConfig().(*Config)}
	now := time.Now()
	assert.Zero(t, s.missed(now))
	assert.Zero(t, s.missed(now.Add(10*time.Second)))
	assert.Zero(t, s.missed(now.Add(21*time.Second)))
	assert.EqualValues(t, 2, s.missed(now.Add(51*time.Second)))
}

func TestRootWithoutProc(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.RootPath = t.TempDir()
	r, err := NewFactory().CreateMetrics(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, consumertest.NewNop())
	require.NoError(t, err)
	require.ErrorContains(t, r.Start(t.Context(), componenttest.NewNopHost()), `root_path: "`+cfg.RootPath+`" has no proc file system`)
	require.NoError(t, r.Shutdown(t.Context()))
	require.NoError(t, r.Shutdown(t.Context()), "twice")
}

// contextSink keeps the provenance beside the metrics.
type contextSink struct {
	consumertest.MetricsSink

	provenance chan *leak.Provenance
}

func (s *contextSink) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	select {
	case s.provenance <- leak.ProvenanceFromContext(ctx):
	default:
	}
	return s.MetricsSink.ConsumeMetrics(ctx, md)
}

var _ consumer.Metrics = (*contextSink)(nil)

func TestReceiverOnThisHost(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.ControllerConfig.InitialDelay = 0
	sink := &contextSink{provenance: make(chan *leak.Provenance, 1)}
	ticks := make(chan time.Time)
	set := receivertest.NewNopSettings(metadata.Type)
	r, err := newMetricsReceiver(set, cfg, sink, scraperhelper.WithTickerChannel(ticks))
	require.NoError(t, err)
	require.NoError(t, r.Start(t.Context(), componenttest.NewNopHost()))
	p := <-sink.provenance
	ticks <- time.Now()
	require.Eventually(t, func() bool { return len(sink.AllMetrics()) == 2 }, 10*time.Second, time.Millisecond)
	require.NoError(t, r.Shutdown(t.Context()))
	require.NoError(t, r.Shutdown(t.Context()), "twice")

	require.NotNil(t, p)
	assert.Equal(t, set.ID.String(), p.Receiver)
	assert.True(t, p.OwnPIDs)
	want, err := procid.Read("/proc", p.HostID, p.BootID, int32(os.Getpid()))
	require.NoError(t, err)
	found := false
	for _, md := range sink.AllMetrics() {
		for i := range md.ResourceMetrics().Len() {
			process, complete := leak.ProcessFromResource(md.ResourceMetrics().At(i).Resource().Attributes())
			assert.True(t, complete)
			if process.PID == want.PID {
				found = true
				assert.Equal(t, want.InstanceID(), process.InstanceID)
			}
		}
	}
	assert.True(t, found, "it sees itself")
}

func BenchmarkScrape(b *testing.B) {
	cfg := createDefaultConfig().(*Config)
	s, err := newProcessScraper(receivertest.NewNopSettings(metadata.Type), cfg, &leak.Provenance{})
	require.NoError(b, err)
	require.NoError(b, s.start(b.Context(), componenttest.NewNopHost()))
	b.Cleanup(func() { _ = s.shutdown(context.Background()) })
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.scrape(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(s.scanner.Stats().Processes), "processes")
}

func BenchmarkBuildMetrics(b *testing.B) {
	cfg := createDefaultConfig().(*Config)
	s, err := newProcessScraper(receivertest.NewNopSettings(metadata.Type), cfg, &leak.Provenance{})
	require.NoError(b, err)
	require.NoError(b, s.start(b.Context(), componenttest.NewNopHost()))
	b.Cleanup(func() { _ = s.shutdown(context.Background()) })
	now := time.Now()
	few, err := s.scanner.Scan(now)
	require.NoError(b, err)
	processes := make([]*hostproc.Process, 1000)
	for i := range processes {
		processes[i] = few[i%len(few)]
	}
	b.ReportAllocs()
	for b.Loop() {
		s.metrics(processes, now)
	}
}
