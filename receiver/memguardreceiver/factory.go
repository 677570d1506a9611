// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/receiver"
	"go.opentelemetry.io/collector/scraper/scraperhelper"

	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

// Defaults of the configuration.
const (
	defaultInterval     = 10 * time.Second
	defaultInitialDelay = time.Second
	defaultMaxProcesses = 16384
	defaultMaxObjects   = 200_000
	defaultBudget       = 20_000
	defaultSites        = 20
	defaultHold         = time.Hour
	defaultAbandonedAge = 10 * time.Minute
	defaultIdle         = 5 * time.Minute
)

// NewFactory returns the factory of the receiver.
func NewFactory() receiver.Factory {
	return receiver.NewFactory(
		metadata.Type,
		createDefaultConfig,
		receiver.WithMetrics(createMetrics, metadata.MetricsStability),
		receiver.WithLogs(createLogs, metadata.LogsStability),
	)
}

func createDefaultConfig() component.Config {
	controller := scraperhelper.NewDefaultControllerConfig()
	controller.CollectionInterval = defaultInterval
	controller.InitialDelay = defaultInitialDelay
	return &Config{
		ControllerConfig:     controller,
		MetricsBuilderConfig: metadata.NewDefaultMetricsBuilderConfig(),
		RootPath:             "/",
		Detail: DetailConfig{
			Enabled:   true,
			Budget:    defaultBudget,
			Sites:     defaultSites,
			Hold:      defaultHold,
			Lifetimes: true,
		},
		AbandonedMinAge: defaultAbandonedAge,
		IdleThreshold:   defaultIdle,
		MaxProcesses:    defaultMaxProcesses,
		MaxObjects:      defaultMaxObjects,
	}
}
