// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakeventconnector

import (
	"context"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/connector"
	"go.opentelemetry.io/collector/consumer"

	"github.com/otel-memguard/memguard/connector/leakeventconnector/internal/metadata"
)

// NewFactory returns the factory of leak_event.
func NewFactory() connector.Factory {
	return connector.NewFactory(
		metadata.Type,
		createDefaultConfig,
		connector.WithMetricsToLogs(createMetricsToLogs, metadata.MetricsToLogsStability),
	)
}

func createMetricsToLogs(_ context.Context, set connector.Settings, cfg component.Config, next consumer.Logs) (connector.Metrics, error) {
	telemetry, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	return &eventConnector{cfg: cfg.(*Config), next: next, telemetry: telemetry, version: set.BuildInfo.Version, now: time.Now}, nil
}
