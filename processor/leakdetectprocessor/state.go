// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/otel-memguard/memguard/internal/detect"
	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/processor/leakdetectprocessor/internal/metadata"
)

// state is everything that leak_detect knows. Pipelines with the same id
// share it.
type state struct {
	cfg       *Config
	id        component.ID
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	sets      attributeSets
	version   string
	now       func() time.Time
	release   func()

	lifecycle  sync.Mutex // start and stop
	users      int
	cancel     context.CancelFunc
	done       sync.WaitGroup
	remediator leak.Remediator
	client     storage.Client
	saving     sync.Mutex // one writer at a time, in the order of decisions

	mu          sync.Mutex // all below
	engine      *detect.Engine
	watch       *watchList
	hash        hasher
	tables      tables
	entries     int
	batch       uint64
	latest      *leakProcessor // through which the newest batch came
	touched     []*life
	transitions []*life
	gone        []*life
	ended       outbox // closing points that were not sent yet
	found       []leak.Finding
	proposals   []leak.Finding
	bounds      []float64
	bucket      []uint64
	counts      counts
	horizon     int64 // newest time that a right clock can show
	indexed     bool  // storage has an index of the present lives
}

func newState(set processor.Settings, cfg *Config) (*state, error) {
	engineConfig := cfg.engine()
	engine, err := detect.New(&engineConfig)
	if err != nil {
		return nil, err
	}
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &state{
		cfg: cfg, id: set.ID, logger: set.Logger, telemetry: telemetry, sets: newAttributeSets(), version: set.BuildInfo.Version,
		now: time.Now, release: func() {}, engine: engine, watch: newWatchList(cfg.Watch),
		hash: hasher{maphash.MakeSeed()}, tables: newTables(), ended: outbox{},
	}, nil
}

// setHorizon allows clocks to be ahead of ours by a few intervals.
func (s *state) setHorizon(now time.Time) {
	s.horizon = now.Add(s.cfg.MaxStale / 4).UnixNano()
	s.engine.SetHorizon(s.horizon)
}

// start is called once per pipeline; the first call does the work.
func (s *state) start(ctx context.Context, host component.Host) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.users > 0 {
		s.users++
		return nil
	}
	if err := errors.Join(s.findRemediator(host), s.openStorage(ctx, host)); err != nil {
		return err
	}
	if err := s.observeTables(); err != nil {
		return err
	}
	if s.cfg.TimeScale != 1 {
		s.logger.Warn("Waits are not those of production", zap.Float64("time_scale", s.cfg.TimeScale))
	}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	s.cancel = cancel
	s.done.Go(func() { s.sweepLoop(run) })
	if s.client != nil {
		s.done.Go(func() { s.checkpointLoop(run) })
	}
	s.users = 1
	return nil
}

// stop is called once per pipeline that was started; the last call does the
// work. Findings stay open: the lives go on, and so will the next collector.
func (s *state) stop(ctx context.Context) error {
	s.lifecycle.Lock()
	defer s.lifecycle.Unlock()
	if s.users--; s.users > 0 {
		return nil
	}
	s.cancel()
	s.done.Wait()
	s.release()
	s.telemetry.Shutdown()
	if s.client == nil {
		return nil
	}
	s.checkpoint(ctx, true)
	return s.client.Close(ctx)
}

func (s *state) findRemediator(host component.Host) error {
	if s.cfg.Remediation == nil {
		return nil
	}
	ext, ok := host.GetExtensions()[*s.cfg.Remediation]
	if !ok {
		return fmt.Errorf("remediation: extension %q is not in service::extensions", s.cfg.Remediation)
	}
	s.remediator, ok = ext.(leak.Remediator)
	if !ok {
		return fmt.Errorf("remediation: extension %q cannot repair leaks; name one of type auto_fix", s.cfg.Remediation)
	}
	return nil
}

func (s *state) observeTables() error {
	lives := s.telemetry.RegisterLeakDetectLivesCallback(func(_ context.Context, o metric.Int64Observer) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		o.Observe(int64(s.tables.lives()))
		return nil
	})
	series := s.telemetry.RegisterLeakDetectSeriesCallback(func(_ context.Context, o metric.Int64Observer) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		o.Observe(int64(s.entries))
		return nil
	})
	findings := s.telemetry.RegisterLeakDetectFindingsCallback(func(_ context.Context, o metric.Int64Observer) error {
		for state, n := range s.countFindings() {
			o.Observe(n, metric.WithAttributes(attribute.String(leak.AttrLeakState, string(state))))
		}
		return nil
	})
	return errors.Join(lives, series, findings)
}

func (s *state) countFindings() map[leak.State]int64 {
	n := map[leak.State]int64{leak.StateSuspected: 0, leak.StateLikely: 0, leak.StateConfirmed: 0, leak.StateAtRisk: 0}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.tables.byKey {
		for _, l := range s.tables.byKey[i] {
			l.Open(func(f *leak.Finding) { n[f.State]++ })
		}
	}
	return n
}

// sweepLoop ends what fell silent while no batch comes.
func (s *state) sweepLoop(ctx context.Context) {
	ticker := time.NewTicker(min(30*time.Second, max(time.Second, s.cfg.MaxStale/4)))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.sweep(ctx)
		}
	}
}

// adoptPipeline notes a pipeline for what has none.
func (s *state) adoptPipeline(p *leakProcessor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.latest == nil || !s.latest.started.Load() {
		s.latest = p
	}
}

func (s *state) expireAll() (out outbox, proposals []leak.Finding, latest *leakProcessor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for i := range s.tables.hosts {
		for _, h := range s.tables.hosts[i] {
			s.expire(h, now)
		}
	}
	out, s.ended = s.ended, outbox{}
	proposals, s.proposals = s.proposals, nil
	return out, proposals, s.latest
}

// sweep sends the closing points of lives that are gone, each through the
// pipeline that last saw it.
func (s *state) sweep(ctx context.Context) {
	out, proposals, latest := s.expireAll()
	s.save(ctx, s.urgent)
	s.propose(ctx, proposals)
	s.deliver(ctx, out, latest)
}
