// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/receiver/otlpreceiver"
	noopmetric "go.opentelemetry.io/otel/metric/noop"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"
)

// Event is one log record with the resource it came on.
type Event struct {
	Received time.Time
	Time     time.Time
	Name     string
	Severity plog.SeverityNumber
	Body     string
	Attrs    map[string]any
	Resource map[string]any
}

// Text returns an attribute of the event or of its resource as text.
func (e *Event) Text(key string) string {
	for _, attrs := range []map[string]any{e.Attrs, e.Resource} {
		if v, ok := attrs[key]; ok {
			return fmt.Sprint(v)
		}
	}
	return ""
}

// Sink is a real OTLP receiver that keeps the events and counts the metrics.
type Sink struct {
	Endpoint string

	logs    receiver.Logs
	metrics receiver.Metrics

	mu      sync.Mutex
	events  []Event
	dropped int
	points  int
	changed chan struct{}
}

// maxEvents bounds what a sink keeps; what comes after is counted.
const maxEvents = 50_000

// NewSink starts an OTLP receiver on a loopback port that the kernel chose.
func NewSink(ctx context.Context) (*Sink, error) {
	port, err := FreePort(ctx)
	if err != nil {
		return nil, err
	}
	s := &Sink{Endpoint: port, changed: make(chan struct{})}
	factory := otlpreceiver.NewFactory()
	cfg := factory.CreateDefaultConfig()
	err = confmap.NewFromStringMap(map[string]any{
		"protocols": map[string]any{"grpc": map[string]any{"endpoint": s.Endpoint}},
	}).Unmarshal(cfg)
	if err != nil {
		return nil, fmt.Errorf("configure the OTLP receiver: %w", err)
	}
	set := receiver.Settings{
		ID: component.NewID(factory.Type()),
		TelemetrySettings: component.TelemetrySettings{
			Logger: zap.NewNop(), TracerProvider: nooptrace.NewTracerProvider(),
			MeterProvider: noopmetric.NewMeterProvider(), Resource: pcommon.NewResource(),
		},
	}
	toLogs, err := consumer.NewLogs(s.takeLogs)
	if err != nil {
		return nil, err
	}
	toMetrics, err := consumer.NewMetrics(s.takeMetrics)
	if err != nil {
		return nil, err
	}
	if s.logs, err = factory.CreateLogs(ctx, set, cfg, toLogs); err != nil {
		return nil, err
	}
	if s.metrics, err = factory.CreateMetrics(ctx, set, cfg, toMetrics); err != nil {
		return nil, err
	}
	if err := errors.Join(s.logs.Start(ctx, noHost{}), s.metrics.Start(ctx, noHost{})); err != nil {
		return nil, errors.Join(err, s.Close(ctx))
	}
	return s, nil
}

type noHost struct{}

func (noHost) GetExtensions() map[component.ID]component.Component { return nil }

// Close ends the receiver.
func (s *Sink) Close(ctx context.Context) error {
	return errors.Join(s.logs.Shutdown(ctx), s.metrics.Shutdown(ctx))
}

func (s *Sink) takeMetrics(_ context.Context, md pmetric.Metrics) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.points += md.DataPointCount()
	return nil
}

func (s *Sink) takeLogs(_ context.Context, ld plog.Logs) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rl := range ld.ResourceLogs().All() {
		resource := rl.Resource().Attributes().AsRaw()
		for _, sl := range rl.ScopeLogs().All() {
			for _, record := range sl.LogRecords().All() {
				s.keep(record, resource)
			}
		}
	}
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *Sink) keep(record plog.LogRecord, resource map[string]any) {
	if len(s.events) >= maxEvents {
		s.dropped++
		return
	}
	s.events = append(s.events, Event{
		Received: time.Now(), Time: record.Timestamp().AsTime(), Name: record.EventName(),
		Severity: record.SeverityNumber(), Body: record.Body().AsString(),
		Attrs: record.Attributes().AsRaw(), Resource: resource,
	})
}

// Since returns the events from index n on, and a channel that is closed when
// more come.
func (s *Sink) Since(n int) ([]Event, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.events[min(n, len(s.events)):]...), s.changed
}

// Events returns all events, in the order of their coming.
func (s *Sink) Events() []Event {
	events, _ := s.Since(0)
	return events
}

// Dropped is how many events came above the bound.
func (s *Sink) Dropped() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// FreePort returns a loopback address whose port was free a moment ago.
func FreePort(ctx context.Context) (string, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}
