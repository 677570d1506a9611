// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakeventconnector

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-memguard/memguard/connector/leakeventconnector/internal/metadata"
	"github.com/otel-memguard/memguard/internal/leak"
)

type eventConnector struct {
	component.StartFunc

	cfg       *Config
	next      consumer.Logs
	telemetry *metadata.TelemetryBuilder
	version   string
	now       func() time.Time
}

func (*eventConnector) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: false}
}

func (c *eventConnector) Shutdown(context.Context) error {
	c.telemetry.Shutdown()
	return nil
}

// ConsumeMetrics emits one batch with the events of md, or nothing where md
// holds no transition.
func (c *eventConnector) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	logs := plog.NewLogs()
	resources := md.ResourceMetrics()
	for i := range resources.Len() {
		c.resource(ctx, resources.At(i), logs)
	}
	if logs.LogRecordCount() == 0 {
		return nil
	}
	return c.next.ConsumeLogs(ctx, logs)
}

func (c *eventConnector) resource(ctx context.Context, rm pmetric.ResourceMetrics, logs plog.Logs) {
	findings, malformed := leak.ReadFindings(rm)
	if malformed > 0 {
		c.telemetry.LeakEventMalformedPoints.Add(ctx, int64(malformed))
	}
	var records plog.LogRecordSlice
	begun := false
	for i := range findings {
		f := &findings[i]
		if !c.wanted(f) {
			continue
		}
		if !begun {
			rl := logs.ResourceLogs().AppendEmpty()
			rm.Resource().CopyTo(rl.Resource())
			rl.SetSchemaUrl(rm.SchemaUrl())
			sl := rl.ScopeLogs().AppendEmpty()
			sl.Scope().SetName(metadata.ScopeName)
			sl.Scope().SetVersion(c.version)
			records, begun = sl.LogRecords(), true
		}
		c.record(f, records.AppendEmpty())
		c.telemetry.LeakEventEvents.Add(ctx, 1, metric.WithAttributes(attribute.String("state", string(f.State))))
	}
}

// wanted reports whether the finding makes an event at this sight of it.
func (c *eventConnector) wanted(f *leak.Finding) bool {
	if f.State == leak.StateSuspected && !c.cfg.Suspected {
		return false
	}
	if f.State.Closed() && f.Previous == leak.StateSuspected && !c.cfg.Suspected {
		return false // its beginning was no event either
	}
	if f.Role == leak.RoleCorroborates && !c.cfg.Corroborating {
		return false
	}
	age := f.Time.Sub(f.Since)
	return age >= 0 && age <= c.cfg.MaxAge
}
