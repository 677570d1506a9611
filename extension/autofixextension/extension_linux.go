// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensioncapabilities"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/extension/autofixextension/internal/metadata"
	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/remedy"
)

var (
	_ extension.Extension                   = (*autoFix)(nil)
	_ extensioncapabilities.Dependent       = (*autoFix)(nil)
	_ extensioncapabilities.PipelineWatcher = (*autoFix)(nil)
	_ leak.Remediator                       = (*autoFix)(nil)
	_ leak.AuditSource                      = (*autoFix)(nil)
)

// autoFix is the thin shell of a remedy.Engine.
type autoFix struct {
	cfg       *Config
	logger    *zap.Logger
	telemetry *metadata.TelemetryBuilder
	engine    *remedy.Engine
	kill      *killSignal

	mu      sync.Mutex
	started bool
}

func newAutoFix(set extension.Settings, cfg *Config) (*autoFix, error) {
	stopSignal.keep()
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("create telemetry: %w", err)
	}
	a := &autoFix{cfg: cfg, logger: set.Logger, telemetry: telemetry}
	settings := cfg.settings()
	settings.Observer = a.observer()
	if a.engine, err = remedy.NewEngine(settings); err != nil {
		return nil, err
	}
	return a, nil
}

// Start checks the directories and starts the engine. Nothing is done to any
// process before the receivers run.
func (a *autoFix) Start(_ context.Context, host component.Host) error {
	if id := a.cfg.Storage; id != nil {
		if _, ok := host.GetExtensions()[*id]; !ok {
			return fmt.Errorf("storage: extension %q does not exist", id)
		}
	}
	if err := writable("directory", a.cfg.Directory); err != nil {
		return err
	}
	if err := writable("runtime_directory", a.cfg.runtimeDirectory()); err != nil {
		return err
	}
	if err := a.engine.Start(); err != nil { //nolint:contextcheck // the work outlives the start
		return err
	}
	a.kill = stopSignal.listen(func() {
		a.logger.Warn("SIGUSR1: auto_fix stops; memguard start releases it")
		if err := a.engine.Stop("SIGUSR1"); err != nil {
			a.logger.Warn("the kill switch holds only until this collector ends", zap.Error(err))
		}
	})
	a.mu.Lock()
	a.started = true
	a.mu.Unlock()
	return nil
}

// Shutdown ends the engine. It is safe without Start and more than once.
func (a *autoFix) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	started := a.started
	a.started = false
	a.mu.Unlock()
	if !started {
		return nil
	}
	a.kill.close()
	err := a.engine.Shutdown(ctx)
	a.telemetry.Shutdown()
	return err
}

// Ready implements extensioncapabilities.PipelineWatcher: the engine acts only
// while the pipelines run, so that what it does is reported.
func (a *autoFix) Ready() error {
	a.engine.SetReady(true)
	return nil
}

// NotReady implements extensioncapabilities.PipelineWatcher.
func (a *autoFix) NotReady() error {
	a.engine.SetReady(false)
	return nil
}

// Dependencies implements extensioncapabilities.Dependent.
func (a *autoFix) Dependencies() []component.ID {
	if a.cfg.Storage == nil {
		return nil
	}
	return []component.ID{*a.cfg.Storage}
}

// Propose implements leak.Remediator.
func (a *autoFix) Propose(f leak.Finding) bool { return a.engine.Propose(f) }

// writable makes the directory if need be and asks the kernel whether we may
// write there, which tells a read-only file system too. Others must not be able
// to: what the directory holds decides whether anything is done.
func writable(key, dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("%s: cannot create %q: %w", key, dir, err)
	}
	if err := remedy.CheckDirectory(dir); err != nil {
		return fmt.Errorf("%s: %q cannot be trusted: %w", key, dir, err)
	}
	err := unix.Access(dir, unix.W_OK|unix.X_OK)
	if err == nil {
		err = unix.Access(filepath.Dir(dir), unix.X_OK)
	}
	if err != nil {
		return fmt.Errorf("%s: %q is not writable: %w", key, dir, err)
	}
	return nil
}
