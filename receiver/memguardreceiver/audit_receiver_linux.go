// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/receiverhelper"
	"go.uber.org/zap"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

const (
	auditBatch       = 100
	auditFirstWait   = time.Second
	auditLongestWait = time.Minute
	// auditPoll bounds how long a missed signal can delay a record.
	auditPoll = time.Minute
	// auditTransport is what the receiver's own metrics name as transport.
	auditTransport = "journal"
)

// auditReceiver hands the outcomes of remediation to a logs pipeline. The
// source's cursor moves only after the pipeline took them, so that each is
// delivered at least once.
type auditReceiver struct {
	cfg       *Config
	set       receiver.Settings
	next      consumer.Logs
	obs       *receiverhelper.ObsReport
	telemetry *metadata.TelemetryBuilder
	backoff   time.Duration // the shortest; shorter in tests

	source leak.AuditSource
	cancel context.CancelFunc
	done   sync.WaitGroup
	stop   sync.Once
}

func newAuditReceiver(set receiver.Settings, cfg *Config, next consumer.Logs) (*auditReceiver, error) {
	obs, err := receiverhelper.NewObsReport(receiverhelper.ObsReportSettings{
		ReceiverID: set.ID, Transport: auditTransport, ReceiverCreateSettings: set,
	})
	if err != nil {
		return nil, fmt.Errorf("create telemetry: %w", err)
	}
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, fmt.Errorf("create telemetry: %w", err)
	}
	return &auditReceiver{
		cfg: cfg, set: set, next: next, obs: obs, telemetry: telemetry,
		backoff: auditFirstWait, cancel: func() {},
	}, nil
}

// Start begins delivery from where the cursor stands.
func (r *auditReceiver) Start(ctx context.Context, host component.Host) error {
	if r.cfg.Audit == nil {
		r.set.Logger.Warn("The logs half of the receiver has nothing to deliver: name the auto_fix extension under `audit`")
		return nil
	}
	source, err := auditSource(host, *r.cfg.Audit)
	if err != nil {
		return err
	}
	r.source = source
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r.cancel = cancel
	r.done.Go(func() { r.run(ctx) })
	return nil
}

// Shutdown may be called twice, and without Start. What is not delivered yet
// waits in the journal for the next start.
func (r *auditReceiver) Shutdown(context.Context) error {
	r.stop.Do(func() {
		r.cancel()
		r.done.Wait()
		r.telemetry.Shutdown()
	})
	return nil
}

func (r *auditReceiver) run(ctx context.Context) {
	wait := r.backoff
	limit := auditBatch
	for {
		more, err := r.deliver(ctx, limit)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil:
			wait, limit = r.backoff, auditBatch
			if !more && !r.idle(ctx) {
				return
			}
		case consumererror.IsPermanent(err) && limit > 1:
			limit = 1 // find the record that the pipeline refuses
		default:
			r.telemetry.MemguardAuditErrors.Add(ctx, 1)
			if wait == r.backoff {
				r.set.Logger.Warn("Outcomes of remediation are not delivered yet; they are kept and tried again", zap.Error(err))
			}
			if !sleep(ctx, wait/2+rand.N(wait)) { //nolint:gosec // jitter
				return
			}
			wait = min(2*wait, max(auditLongestWait, r.backoff))
		}
	}
}

// idle waits for a signal. It reports false at the end of the receiver.
func (r *auditReceiver) idle(ctx context.Context) bool {
	timer := time.NewTimer(auditPoll)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-r.source.News():
	case <-timer.C:
	}
	return true
}

// deliver hands one batch on. It reports whether there may be more.
func (r *auditReceiver) deliver(ctx context.Context, limit int) (bool, error) {
	records, err := r.source.Pending(ctx, limit)
	if err != nil {
		return false, fmt.Errorf("read outcomes: %w", err)
	}
	if len(records) == 0 {
		return false, nil
	}
	logs := auditLogs(records, r.set.BuildInfo.Version, time.Now())
	opCtx := r.obs.StartLogsOp(ctx)
	err = r.next.ConsumeLogs(opCtx, logs)
	r.obs.EndLogsOp(opCtx, "", len(records), err)
	last := records[len(records)-1].Seq
	switch {
	case err == nil:
		r.telemetry.MemguardAuditRecords.Add(ctx, int64(len(records)))
	case consumererror.IsPermanent(err) && len(records) == 1:
		// No retry can help, and those behind it must not wait for ever.
		r.telemetry.MemguardAuditRefused.Add(ctx, 1)
		r.set.Logger.Error("The pipeline refuses an outcome of remediation for good; it stays in the journal only",
			zap.Uint64("seq", last), zap.Error(err))
	default:
		return false, fmt.Errorf("hand outcomes on: %w", err)
	}
	if err := r.source.Delivered(ctx, last); err != nil {
		return false, fmt.Errorf("move the cursor of outcomes: %w", err)
	}
	return true, nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
