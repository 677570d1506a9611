// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"

	"github.com/otel-memguard/memguard/extension/autofixextension/internal/metadata"
	"github.com/otel-memguard/memguard/extension/autofixextension/internal/metadatatest"
	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/internal/remedy"
)

func start(t *testing.T, cfg *Config, telemetry *componenttest.Telemetry) *autoFix {
	t.Helper()
	set := extensiontest.NewNopSettings(metadata.Type)
	if telemetry != nil {
		set.TelemetrySettings = telemetry.NewTelemetrySettings()
	}
	ext, err := NewFactory().Create(t.Context(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() {
		assert.NoError(t, ext.Shutdown(context.Background()))
		assert.NoError(t, ext.Shutdown(context.Background()))
	})
	return ext.(*autoFix)
}

func testConfig(t *testing.T) *Config {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Directory = t.TempDir()
	cfg.RuntimeDirectory = cfg.Directory
	cfg.WatchInterval = 10 * time.Millisecond
	return cfg
}

// awaitRounds waits until whole rounds of the worker have passed.
func awaitRounds(t *testing.T, a *autoFix) {
	t.Helper()
	from := a.engine.Rounds()
	require.Eventually(t, func() bool { return a.engine.Rounds() >= from+3 }, 5*time.Second, time.Millisecond)
}

// ownFinding is a finding of a local process, so that notice is given.
func ownFinding(t *testing.T) leak.Finding {
	t.Helper()
	hostID, err := procid.HostID("/")
	require.NoError(t, err)
	bootID, err := procid.BootID("/proc")
	require.NoError(t, err)
	id, err := procid.Read("/proc", hostID, bootID, int32(os.Getpid()))
	require.NoError(t, err)
	f := leak.NewFinding()
	f.ID, f.Kind, f.Basis, f.State, f.Time, f.Since = "f1", leak.KindFile, leak.BasisTrend, leak.StateConfirmed, time.Now(), time.Now()
	f.Process = leak.Process{HostID: hostID, BootID: bootID, PID: id.PID, InstanceID: id.InstanceID(), CreationTime: time.Now()}
	f.Provenance = &leak.Provenance{HostID: hostID, BootID: bootID, OwnPIDs: true}
	return f
}

func TestNoticeGoesIntoTheAudit(t *testing.T) {
	telemetry := componenttest.NewTelemetry()
	t.Cleanup(func() { assert.NoError(t, telemetry.Shutdown(context.Background())) })
	a := start(t, testConfig(t), telemetry)
	var source leak.AuditSource = a
	require.True(t, a.Propose(ownFinding(t)))
	awaitRounds(t, a) // and nothing may happen in them
	records, err := source.Pending(t.Context(), 10)
	require.NoError(t, err)
	assert.Empty(t, records, "nothing before the pipelines run")

	require.NoError(t, a.Ready())
	require.Eventually(t, func() bool {
		records, err = source.Pending(t.Context(), 10)
		return err == nil && len(records) == 1
	}, 5*time.Second, 5*time.Millisecond)
	r := records[0]
	assert.Equal(t, leak.EventRemediationProposed, r.Event)
	assert.Equal(t, plog.SeverityNumberInfo, r.Severity)
	assert.Equal(t, "notify", r.Attributes[leak.AttrRemediationAction])
	assert.Equal(t, "dry_run", r.Attributes[leak.AttrRemediationMode])
	assert.EqualValues(t, os.Getpid(), r.Process.PID)
	assert.Contains(t, r.Body, "leaks file")
	select {
	case <-source.News():
	default:
		assert.Fail(t, "no news")
	}
	require.NoError(t, source.Delivered(t.Context(), r.Seq))
	records, err = source.Pending(t.Context(), 10)
	require.NoError(t, err)
	assert.Empty(t, records)
	metadatatest.AssertEqualAutoFixProposed(t, telemetry, sum(1, "action", "notify"), metricdatatest.IgnoreTimestamp())
}

func TestNothingHappensOnceThePipelinesStop(t *testing.T) {
	a := start(t, testConfig(t), nil)
	require.NoError(t, a.Ready())
	require.NoError(t, a.NotReady())
	require.True(t, a.Propose(ownFinding(t)))
	awaitRounds(t, a) // and nothing may happen in them
	records, err := a.Pending(t.Context(), 10)
	require.NoError(t, err)
	assert.Empty(t, records)
}

func TestSignalStopsAndNeverStarts(t *testing.T) {
	cfg := testConfig(t)
	start(t, cfg, nil)
	kill := filepath.Join(cfg.Directory, remedy.KillSwitchFile)
	for range 2 {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
		require.Eventually(t, func() bool { _, err := os.Stat(kill); return err == nil }, 5*time.Second, 5*time.Millisecond)
	}
	var st *remedy.Status
	require.NoError(t, remedy.Ask(t.Context(), cfg.Directory, remedy.Request{Command: remedy.CommandStatus},
		func(r *remedy.Response) error { st = r.Status; return nil }))
	assert.NotEmpty(t, st.Stopped)
}

func TestSignalThatComesBeforeTheStartOrAfterTheShutdown(t *testing.T) {
	cfg := testConfig(t)
	kill := filepath.Join(cfg.Directory, remedy.KillSwitchFile)
	waits := func() bool { return len(stopSignal.signals) == 1 }
	thrown := func() bool { _, err := os.Stat(kill); return err == nil }
	for range 2 {
		ext, err := NewFactory().Create(t.Context(), extensiontest.NewNopSettings(metadata.Type), cfg)
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1)) // would end the test if nobody took it
		require.Eventually(t, waits, 5*time.Second, time.Millisecond)
		require.NoError(t, ext.Start(t.Context(), componenttest.NewNopHost()))
		require.Eventually(t, thrown, 5*time.Second, time.Millisecond)
		require.NoError(t, ext.Shutdown(t.Context()))
		require.NoError(t, os.Remove(kill))
	}
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	require.Eventually(t, waits, 5*time.Second, time.Millisecond)
	start(t, cfg, nil) // as a reload does
	require.Eventually(t, thrown, 5*time.Second, time.Millisecond)
}

func TestSignalReachesEachOfThem(t *testing.T) {
	one, other := testConfig(t), testConfig(t)
	start(t, one, nil)
	start(t, other, nil)
	require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGUSR1))
	for _, cfg := range []*Config{one, other} {
		require.Eventually(t, func() bool {
			_, err := os.Stat(filepath.Join(cfg.Directory, remedy.KillSwitchFile))
			return err == nil
		}, 5*time.Second, time.Millisecond)
	}
}

func TestStartNamesWhatIsWrong(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	missing := component.MustNewID("file_storage")
	open := filepath.Join(t.TempDir(), "open")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	for want, spoil := range map[string]func(c *Config){
		"directory: cannot create \"" + file:                                                   func(c *Config) { c.Directory = file },
		"runtime_directory: cannot create":                                                     func(c *Config) { c.RuntimeDirectory = filepath.Join(file, "x") },
		"directory: \"" + open + "\" cannot be trusted: its group or others may write":         func(c *Config) { c.Directory = open },
		"runtime_directory: \"" + open + "\" cannot be trusted: its group or others may write": func(c *Config) { c.RuntimeDirectory = open },
		"storage: extension \"file_storage\" does not exist":                                   func(c *Config) { c.Storage = &missing },
	} {
		cfg := testConfig(t)
		spoil(cfg)
		ext, err := NewFactory().Create(t.Context(), extensiontest.NewNopSettings(metadata.Type), cfg)
		require.NoError(t, err)
		require.ErrorContains(t, ext.Start(t.Context(), componenttest.NewNopHost()), want)
		require.NoError(t, ext.Shutdown(t.Context()))
	}
}

func TestDependsOnItsStorage(t *testing.T) {
	cfg := testConfig(t)
	id := component.MustNewID("file_storage")
	cfg.Storage = &id
	a, err := newAutoFix(extensiontest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	assert.Equal(t, []component.ID{id}, a.Dependencies())
	cfg.Storage = nil
	assert.Empty(t, a.Dependencies())
}

func TestASecondCollectorStaysInDryRun(t *testing.T) {
	cfg := testConfig(t)
	cfg.Mode = "enforce"
	first := start(t, cfg, nil)
	second := start(t, cfg, nil)
	assert.Equal(t, remedy.ModeDryRun, second.engine.Status().Mode)
	assert.NotEmpty(t, second.engine.Status().Why)
	var st *remedy.Status
	require.NoError(t, remedy.Ask(t.Context(), cfg.Directory, remedy.Request{Command: remedy.CommandStatus},
		func(r *remedy.Response) error { st = r.Status; return nil }))
	assert.Equal(t, first.engine.Status().Mode, st.Mode, "the first one's socket stands")
}

func TestAuditRecordOfARefusal(t *testing.T) {
	t.Parallel()
	r := auditRecord(&remedy.Record{
		Seq: 7, Type: remedy.TypeRefused, ID: "id", Action: remedy.ActionSocketDown,
		Process: &remedy.ProcessRef{PID: 4, ExecutableName: "x"}, Object: &remedy.Object{FD: 3, State: "close_wait"},
		Guards: remedy.Verdicts{
			{Guard: remedy.GuardProvenance, Name: "provenance", Pass: true, Reason: "ours"},
			{Guard: remedy.GuardSoleHolder, Name: "sole_holder", Reason: "also held by process 5"},
		},
	})
	assert.Equal(t, leak.EventRemediationRefused, r.Event)
	assert.Equal(t, "sole_holder", r.Attributes[leak.AttrGuard])
	assert.Equal(t, "pass", r.Attributes[leak.AttrGuard+".provenance"])
	assert.Equal(t, "refuse: also held by process 5", r.Attributes[leak.AttrGuard+".sole_holder"])
	assert.Equal(t, int64(3), r.Attributes["memguard.object.descriptor"])
	for key, value := range r.Attributes {
		switch value.(type) {
		case string, bool, int64, float64:
		default:
			assert.Failf(t, "type", "%s is %T", key, value)
		}
	}
}

func BenchmarkPropose(b *testing.B) {
	cfg := createDefaultConfig().(*Config)
	cfg.Directory = b.TempDir()
	cfg.RuntimeDirectory = cfg.Directory
	a, err := newAutoFix(extensiontest.NewNopSettings(metadata.Type), cfg)
	require.NoError(b, err)
	f := leak.NewFinding()
	f.ID = "f"
	b.ReportAllocs()
	for b.Loop() {
		a.Propose(f)
	}
}
