// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otel-memguard/memguard/internal/leak"
)

// rig is one leak_detect with what is around it.
type rig struct {
	t         *testing.T
	factory   processor.Factory
	telemetry *componenttest.Telemetry
	processor processor.Metrics
	sink      *consumertest.MetricsSink
	ctx       context.Context
}

type fakeHost map[component.ID]component.Component

func (h fakeHost) GetExtensions() map[component.ID]component.Component { return h }

var (
	remediatorID = component.MustNewID("auto_fix")
	storageID    = component.MustNewID("file_storage")
	detectID     = component.MustNewID("leak_detect")
)

type fakeRemediator struct {
	component.StartFunc
	component.ShutdownFunc
	mu   sync.Mutex
	got  []leak.Finding
	full bool
}

func (r *fakeRemediator) Propose(f leak.Finding) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.full {
		return false
	}
	r.got = append(r.got, f)
	return true
}

func (r *fakeRemediator) proposals() []leak.Finding {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]leak.Finding{}, r.got...)
}

// memoryStorage keeps what was written, as a disk does over a kill -9.
type memoryStorage struct {
	component.StartFunc
	component.ShutdownFunc
	mu   sync.Mutex
	data map[string][]byte
	fail bool
}

func (m *memoryStorage) GetClient(context.Context, component.Kind, component.ID, string) (storage.Client, error) {
	return m, nil
}

func (m *memoryStorage) Get(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.data[key], nil
}

func (m *memoryStorage) Set(ctx context.Context, key string, value []byte) error {
	return m.Batch(ctx, storage.SetOperation(key, value))
}

func (m *memoryStorage) Delete(ctx context.Context, key string) error {
	return m.Batch(ctx, storage.DeleteOperation(key))
}

func (m *memoryStorage) Batch(_ context.Context, ops ...*storage.Operation) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail {
		return errors.New("disk full")
	}
	if m.data == nil {
		m.data = map[string][]byte{}
	}
	for _, op := range ops {
		switch op.Type {
		case storage.Set:
			m.data[op.Key] = append([]byte{}, op.Value...)
		case storage.Delete:
			delete(m.data, op.Key)
		case storage.Get:
			op.Value = m.data[op.Key]
		}
	}
	return nil
}

func (*memoryStorage) Close(context.Context) error { return nil }

// crash returns the disk as a kill -9 at this instant leaves it.
func (m *memoryStorage) crash() *memoryStorage {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memoryStorage{data: maps.Clone(m.data)}
}

func newRig(t *testing.T, host fakeHost, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, factory: NewFactory(), telemetry: componenttest.NewTelemetry(), sink: &consumertest.MetricsSink{}, ctx: t.Context()}
	cfg := r.factory.CreateDefaultConfig().(*Config)
	if change != nil {
		change(cfg)
	}
	require.NoError(t, cfg.Validate())
	r.processor = r.create(cfg, r.sink)
	require.NoError(t, r.processor.Start(context.Background(), host))
	t.Cleanup(r.stop)
	return r
}

func (r *rig) create(cfg *Config, next consumer.Metrics) processor.Metrics {
	r.t.Helper()
	p, err := r.factory.CreateMetrics(context.Background(), settings(r), cfg, next)
	require.NoError(r.t, err)
	return p
}

func settings(r *rig) processor.Settings {
	set := processortest.NewNopSettings(typ)
	set.ID = detectID
	set.TelemetrySettings = r.telemetry.NewTelemetrySettings()
	return set
}

func (r *rig) stop() {
	if r.processor == nil {
		return
	}
	ctx := context.Background()
	require.NoError(r.t, r.processor.Shutdown(ctx))
	require.NoError(r.t, r.telemetry.Shutdown(ctx))
	r.processor = nil
}

func (r *rig) consume(md pmetric.Metrics) {
	r.t.Helper()
	require.NoError(r.t, r.processor.ConsumeMetrics(r.ctx, md))
}

// findings returns every sighting of a finding since the last call.
func (r *rig) findings() []leak.Finding {
	r.t.Helper()
	var all []leak.Finding
	for _, md := range r.sink.AllMetrics() {
		for i := range md.ResourceMetrics().Len() {
			f, malformed := leak.ReadFindings(md.ResourceMetrics().At(i))
			require.Zero(r.t, malformed)
			all = append(all, f...)
		}
	}
	r.sink.Reset()
	return all
}

// transitions are those sightings that make an event.
func transitions(all []leak.Finding) (states []leak.State) {
	for i := range all {
		if all[i].Transition() && all[i].Role == leak.RolePrimary {
			states = append(states, all[i].State)
		}
	}
	return states
}

var (
	epoch      = time.Now().Add(-6 * time.Hour).Truncate(time.Second)
	provenance = &leak.Provenance{HostID: "host-1", BootID: "boot-1", Receiver: "memguard", OwnPIDs: true}
)

func asLocal(ctx context.Context) context.Context {
	return leak.ContextWithProvenance(ctx, provenance)
}

// batch builds the metrics of one process at one time.
type batch struct {
	md pmetric.Metrics
	rm pmetric.ResourceMetrics
	ms pmetric.MetricSlice
	at time.Time
}

func newBatch(at time.Time, pid int) *batch {
	md := pmetric.NewMetrics()
	b := &batch{md: md, at: at}
	b.resource(pid)
	return b
}

func (b *batch) resource(pid int) *batch {
	b.rm = b.md.ResourceMetrics().AppendEmpty()
	attrs := b.rm.Resource().Attributes()
	id := leak.Identity{HostID: "host-1", BootID: "boot-1", PID: int32(pid), StartTicks: uint64(pid)}
	attrs.PutStr(leak.AttrHostID, id.HostID)
	attrs.PutStr(leak.AttrBootID, id.BootID)
	attrs.PutStr(leak.AttrServiceInstanceID, id.InstanceID())
	attrs.PutInt(leak.AttrProcessPID, int64(pid))
	attrs.PutStr(leak.AttrProcessCreationTime, epoch.Add(-time.Hour).UTC().Format(time.RFC3339Nano))
	attrs.PutStr(leak.AttrProcessExecutableName, "leaky")
	b.ms = b.rm.ScopeMetrics().AppendEmpty().Metrics()
	return b
}

func (b *batch) sum(name string, v float64, attrs ...string) *batch {
	m := b.ms.AppendEmpty()
	m.SetName(name)
	s := m.SetEmptySum()
	s.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	dp := s.DataPoints().AppendEmpty()
	dp.SetStartTimestamp(pcommon.NewTimestampFromTime(epoch.Add(-time.Hour)))
	dp.SetTimestamp(pcommon.NewTimestampFromTime(b.at))
	dp.SetIntValue(int64(v))
	put(dp.Attributes(), attrs)
	return b
}

func (b *batch) histogram(name string, start time.Time, bounds []float64, counts []uint64, attrs ...string) *batch {
	m := b.ms.AppendEmpty()
	m.SetName(name)
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	dp := h.DataPoints().AppendEmpty()
	dp.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	dp.SetTimestamp(pcommon.NewTimestampFromTime(b.at))
	dp.ExplicitBounds().FromRaw(bounds)
	dp.BucketCounts().FromRaw(counts)
	put(dp.Attributes(), attrs)
	return b
}

func put(m pcommon.Map, attrs []string) {
	for i := 0; i+1 < len(attrs); i += 2 {
		m.PutStr(attrs[i], attrs[i+1])
	}
}
