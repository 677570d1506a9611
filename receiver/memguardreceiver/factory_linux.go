// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"context"
	"fmt"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/scraper"
	"go.opentelemetry.io/collector/scraper/scraperhelper"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

func createMetrics(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Metrics) (receiver.Metrics, error) {
	return newMetricsReceiver(set, cfg.(*Config), next)
}

func createLogs(_ context.Context, set receiver.Settings, cfg component.Config, next consumer.Logs) (receiver.Logs, error) {
	return newAuditReceiver(set, cfg.(*Config), next)
}

// metricsReceiver makes the controller safe to shut down twice, which by
// itself closes a channel each time.
type metricsReceiver struct {
	receiver.Metrics

	stop sync.Once
	err  error
}

func newMetricsReceiver(set receiver.Settings, cfg *Config, next consumer.Metrics, opts ...scraperhelper.ControllerOption) (*metricsReceiver, error) {
	provenance := &leak.Provenance{Receiver: set.ID.String()}
	marked, err := withProvenance(next, provenance)
	if err != nil {
		return nil, err
	}
	s, err := newProcessScraper(set, cfg, provenance)
	if err != nil {
		return nil, err
	}
	sc, err := scraper.NewMetrics(s.scrape, scraper.WithStart(s.start), scraper.WithShutdown(s.shutdown))
	if err != nil {
		return nil, fmt.Errorf("create scraper: %w", err)
	}
	opts = append(opts, scraperhelper.AddMetricsScraper(metadata.Type, sc))
	controller, err := scraperhelper.NewMetricsController(&cfg.ControllerConfig, set, marked, opts...)
	if err != nil {
		return nil, fmt.Errorf("create scrape controller: %w", err)
	}
	return &metricsReceiver{Metrics: controller}, nil
}

// Shutdown may be called twice, and without Start.
func (r *metricsReceiver) Shutdown(ctx context.Context) error {
	r.stop.Do(func() { r.err = r.Metrics.Shutdown(ctx) })
	return r.err
}

// withProvenance marks what the receiver hands on as read from this host by
// this process. An empty batch is not handed on.
func withProvenance(next consumer.Metrics, p *leak.Provenance) (consumer.Metrics, error) {
	consume := func(ctx context.Context, md pmetric.Metrics) error {
		if md.ResourceMetrics().Len() == 0 {
			return nil
		}
		return next.ConsumeMetrics(leak.ContextWithProvenance(ctx, p), md)
	}
	marked, err := consumer.NewMetrics(consume, consumer.WithCapabilities(next.Capabilities()))
	if err != nil {
		return nil, fmt.Errorf("mark provenance: %w", err)
	}
	return marked, nil
}
