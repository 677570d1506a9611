// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/metric/metricdata/metricdatatest"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/otel-memguard/memguard/internal/hostproc"
	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadatatest"
)

func TestTelemetry(t *testing.T) {
	tel := componenttest.NewTelemetry()
	t.Cleanup(func() { require.NoError(t, tel.Shutdown(context.Background())) })
	cfg := createDefaultConfig().(*Config)
	cfg.RootPath = fixture(t)
	cfg.MaxObjects = 3
	s, err := newProcessScraper(metadatatest.NewSettings(tel), cfg, &leak.Provenance{})
	require.NoError(t, err)
	require.NoError(t, s.start(t.Context(), componenttest.NewNopHost()))
	t.Cleanup(func() { _ = s.shutdown(context.Background()) })
	for range 2 {
		_, err = s.scrape(t.Context())
		require.NoError(t, err)
	}

	ignore := metricdatatest.IgnoreTimestamp()
	reason := func(r string) attribute.Set { return attribute.NewSet(attribute.String("reason", r)) }
	metadatatest.AssertEqualMemguardReadErrors(t, tel, []metricdata.DataPoint[int64]{
		{Attributes: reason("gone"), Value: 2},
		{Attributes: reason("malformed"), Value: 2},
	}, ignore)
	metadatatest.AssertEqualMemguardProcesses(t, tel, []metricdata.DataPoint[int64]{{Value: 1}}, ignore)
	metadatatest.AssertEqualMemguardObjects(t, tel, []metricdata.DataPoint[int64]{{Value: 3}}, ignore)
	metadatatest.AssertEqualMemguardObjectsRefused(t, tel, []metricdata.DataPoint[int64]{{Value: 10}}, ignore)
	metadatatest.AssertEqualMemguardDescriptorsDetailed(t, tel, []metricdata.DataPoint[int64]{{Value: 16}}, ignore)
	metadatatest.AssertEqualMemguardTicksMissed(t, tel, []metricdata.DataPoint[int64]{{Value: 0}}, ignore)
	metadatatest.AssertEqualMemguardScanDuration(t, tel, []metricdata.HistogramDataPoint[float64]{{}}, ignore, metricdatatest.IgnoreValue())
}

func TestPrivilegesAreToldOnce(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	s := &processScraper{cfg: createDefaultConfig().(*Config), logger: zap.New(core)}
	for range 3 {
		s.tellPrivileges(&hostproc.Stats{Processes: 100, Denied: 90})
	}
	require.Equal(t, 1, logs.Len())
	assert.Equal(t, map[string]any{
		"processes": int64(100), "without_detail": int64(90), "without_descriptor_count": int64(0),
	}, logs.All()[0].ContextMap())
}
