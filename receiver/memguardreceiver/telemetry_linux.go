// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-memguard/memguard/internal/hostproc"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

// scanTelemetry counts what scans did and could not do.
type scanTelemetry struct {
	builder *metadata.TelemetryBuilder
	reasons [hostproc.NumReasons]metric.MeasurementOption
}

func newScanTelemetry(set component.TelemetrySettings) (*scanTelemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set)
	if err != nil {
		return nil, fmt.Errorf("create telemetry: %w", err)
	}
	t := &scanTelemetry{builder: builder}
	for r := range hostproc.NumReasons {
		t.reasons[r] = metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", r.String())))
	}
	return t, nil
}

func (t *scanTelemetry) shutdown() { t.builder.Shutdown() }

func (t *scanTelemetry) failed(ctx context.Context) {
	t.builder.MemguardReadErrors.Add(ctx, 1, t.reasons[hostproc.ReasonOther])
}

func (t *scanTelemetry) record(ctx context.Context, s *hostproc.Stats, took time.Duration, missed int64) {
	b := t.builder
	b.MemguardScanDuration.Record(ctx, took.Seconds())
	b.MemguardProcesses.Record(ctx, int64(s.Processes))
	b.MemguardObjects.Record(ctx, int64(s.Objects))
	for r, n := range s.Errors {
		if n > 0 {
			b.MemguardReadErrors.Add(ctx, int64(n), t.reasons[r])
		}
	}
	for _, c := range [...]struct {
		counter metric.Int64Counter
		value   int64
	}{
		{b.MemguardTicksMissed, missed},
		{b.MemguardProcessesRefused, int64(s.Refused)},
		{b.MemguardObjectsRefused, int64(s.ObjectsRefused + s.SocketsRefused)},
		{b.MemguardSitesFolded, int64(s.Folded)},
		{b.MemguardDescriptorsDetailed, int64(s.Descriptors)},
		{b.MemguardProcessDetailsDenied, int64(s.Denied)},
		{b.MemguardProcessDetailsDeferred, int64(s.Deferred)},
		{b.MemguardProcessOtherNetns, int64(s.OtherNetns)},
		{b.MemguardSocketDumpErrors, int64(s.SocketDumpErrors)},
	} {
		c.counter.Add(ctx, c.value)
	}
}
