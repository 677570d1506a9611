// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

var autoFix = component.MustNewID("auto_fix")

// fakeSource is an extension that keeps outcomes.
type fakeSource struct {
	component.StartFunc
	component.ShutdownFunc

	mu      sync.Mutex
	records []leak.AuditRecord
	cursor  uint64
	ready   chan struct{}
	fail    error
}

func newFakeSource(n int) *fakeSource {
	s := &fakeSource{ready: make(chan struct{}, 1)}
	s.add(n)
	return s
}

func (s *fakeSource) add(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		seq := uint64(len(s.records) + 1)
		s.records = append(s.records, leak.AuditRecord{
			Seq: seq, Time: time.Unix(1700000000, 0), Event: leak.EventRemediationApplied, Severity: plog.SeverityNumberInfo,
			Body:       "shut 3 sockets",
			Process:    leak.Process{HostID: "h", BootID: "b", InstanceID: "i", PID: 7, CreationTime: time.Unix(1600000000, 0), ExecutableName: "x"},
			Attributes: map[string]any{"seq": int64(seq), "s": "t", "b": true, "f": 0.5, "other": []int{1}},
		})
	}
	select {
	case s.ready <- struct{}{}:
	default:
	}
}

func (s *fakeSource) News() <-chan struct{} { return s.ready }

func (s *fakeSource) Pending(_ context.Context, limit int) ([]leak.AuditRecord, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, s.fail
	}
	rest := s.records[s.cursor:]
	return append([]leak.AuditRecord(nil), rest[:min(limit, len(rest))]...), nil
}

func (s *fakeSource) Delivered(_ context.Context, seq uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cursor = seq
	return nil
}

func (s *fakeSource) delivered() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursor
}

type extHost struct {
	extensions map[component.ID]component.Component
}

func (h extHost) GetExtensions() map[component.ID]component.Component { return h.extensions }

type plainExtension struct {
	component.StartFunc
	component.ShutdownFunc
}

func startAudit(t *testing.T, source *fakeSource, next consumer.Logs) *auditReceiver {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	cfg.Audit = &autoFix
	r, err := newAuditReceiver(receivertest.NewNopSettings(metadata.Type), cfg, next)
	require.NoError(t, err)
	r.backoff = time.Millisecond
	require.NoError(t, r.Start(t.Context(), extHost{map[component.ID]component.Component{autoFix: source}}))
	t.Cleanup(func() {
		require.NoError(t, r.Shutdown(context.Background()))
		require.NoError(t, r.Shutdown(context.Background()), "twice")
	})
	return r
}

func TestAuditDelivers(t *testing.T) {
	sink := &consumertest.LogsSink{}
	source := newFakeSource(250)
	startAudit(t, source, sink)
	require.Eventually(t, func() bool { return source.delivered() == 250 }, 5*time.Second, time.Millisecond)
	source.add(3)
	require.Eventually(t, func() bool { return source.delivered() == 253 }, 5*time.Second, time.Millisecond)
	assert.Equal(t, 253, sink.LogRecordCount())

	rl := sink.AllLogs()[0].ResourceLogs().At(0)
	assert.Equal(t, map[string]any{
		"host.id": "h", "memguard.boot.id": "b", "service.instance.id": "i", "process.pid": int64(7),
		"process.creation.time": "2020-09-13T12:26:40Z", "process.executable.name": "x",
	}, rl.Resource().Attributes().AsRaw())
	assert.Equal(t, leak.ScopeReceiver, rl.ScopeLogs().At(0).Scope().Name())
	lr := rl.ScopeLogs().At(0).LogRecords().At(0)
	assert.Equal(t, leak.EventRemediationApplied, lr.EventName())
	assert.Equal(t, "shut 3 sockets", lr.Body().Str())
	assert.Equal(t, plog.SeverityNumberInfo, lr.SeverityNumber())
	assert.Empty(t, lr.SeverityText())
	assert.Equal(t, time.Unix(1700000000, 0).UTC(), lr.Timestamp().AsTime())
	assert.NotZero(t, lr.ObservedTimestamp())
	assert.Equal(t, map[string]any{"seq": int64(1), "s": "t", "b": true, "f": 0.5, "other": "[1]"}, lr.Attributes().AsRaw())
}

// flaky refuses at first.
type flaky struct {
	consumertest.LogsSink

	mu      sync.Mutex
	left    int
	cursors []uint64
	source  *fakeSource
}

func (f *flaky) ConsumeLogs(ctx context.Context, ld plog.Logs) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cursors = append(f.cursors, f.source.delivered())
	if f.left > 0 {
		f.left--
		return errors.New("queue is full")
	}
	return f.LogsSink.ConsumeLogs(ctx, ld)
}

func TestAuditCursorWaitsForThePipeline(t *testing.T) {
	source := newFakeSource(5)
	next := &flaky{left: 3, source: source}
	startAudit(t, source, next)
	require.Eventually(t, func() bool { return source.delivered() == 5 }, 5*time.Second, time.Millisecond)
	next.mu.Lock()
	defer next.mu.Unlock()
	assert.Equal(t, []uint64{0, 0, 0, 0}, next.cursors, "tried again from the same place")
	assert.Equal(t, 5, next.LogRecordCount())
}

func TestAuditPassesWhatIsRefusedForGood(t *testing.T) {
	source := newFakeSource(5)
	var mu sync.Mutex
	var taken []int64
	next, err := consumer.NewLogs(func(_ context.Context, ld plog.Logs) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range ld.ResourceLogs().Len() {
			seq, _ := ld.ResourceLogs().At(i).ScopeLogs().At(0).LogRecords().At(0).Attributes().Get("seq")
			if seq.Int() == 3 {
				return consumererror.NewPermanent(errors.New("poison"))
			}
		}
		for i := range ld.ResourceLogs().Len() {
			seq, _ := ld.ResourceLogs().At(i).ScopeLogs().At(0).LogRecords().At(0).Attributes().Get("seq")
			taken = append(taken, seq.Int())
		}
		return nil
	})
	require.NoError(t, err)
	startAudit(t, source, next)
	require.Eventually(t, func() bool { return source.delivered() == 5 }, 5*time.Second, time.Millisecond)
	mu.Lock()
	defer mu.Unlock()
	assert.Equal(t, []int64{1, 2, 4, 5}, taken)
}

func TestAuditSourceThatFailsEndsWithTheReceiver(t *testing.T) {
	source := newFakeSource(1)
	source.fail = errors.New("disk")
	startAudit(t, source, consumertest.NewNop())
}

func TestAuditWiring(t *testing.T) {
	host := extHost{map[component.ID]component.Component{autoFix: plainExtension{}}}
	for _, tt := range []struct {
		name string
		id   component.ID
		want string
	}{
		{"absent", component.MustNewIDWithName("auto_fix", "typo"), `audit: no extension "auto_fix/typo" is configured under service::extensions`},
		{"of another type", autoFix, `audit: extension "auto_fix" keeps no outcomes of remediation: it is of type "auto_fix" (memguardreceiver.plainExtension)`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := createDefaultConfig().(*Config)
			cfg.Audit = &tt.id
			logs, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, consumertest.NewNop())
			require.NoError(t, err)
			require.EqualError(t, logs.Start(t.Context(), host), tt.want)
			require.NoError(t, logs.Shutdown(t.Context()))
			metrics, err := NewFactory().CreateMetrics(t.Context(), receivertest.NewNopSettings(metadata.Type), cfg, consumertest.NewNop())
			require.NoError(t, err)
			require.EqualError(t, metrics.Start(t.Context(), host), tt.want)
			require.NoError(t, metrics.Shutdown(t.Context()))
		})
	}
	t.Run("none", func(t *testing.T) {
		logs, err := NewFactory().CreateLogs(t.Context(), receivertest.NewNopSettings(metadata.Type), createDefaultConfig(), consumertest.NewNop())
		require.NoError(t, err)
		require.NoError(t, logs.Start(t.Context(), componenttest.NewNopHost()))
		require.NoError(t, logs.Shutdown(t.Context()))
	})
}
