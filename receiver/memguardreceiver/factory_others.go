// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package memguardreceiver

import (
	"context"
	"errors"
	"runtime"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/receiver"
)

var errNeedsLinux = errors.New("the memguard receiver reads /proc and needs Linux; this is " + runtime.GOOS)

func createMetrics(context.Context, receiver.Settings, component.Config, consumer.Metrics) (receiver.Metrics, error) {
	return nil, errNeedsLinux
}

func createLogs(context.Context, receiver.Settings, component.Config, consumer.Logs) (receiver.Logs, error) {
	return nil, errNeedsLinux
}
