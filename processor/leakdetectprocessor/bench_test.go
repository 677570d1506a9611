// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/processor/processortest"

	"github.com/otel-memguard/memguard/internal/leak"
)

// BenchmarkConsume sends the receiver's metrics of 1000 processes at a time;
// ns/point is the cost of one data point through ConsumeMetrics.
func BenchmarkConsume(b *testing.B) {
	const processes = 1000
	factory := NewFactory()
	p, err := factory.CreateMetrics(context.Background(), processortest.NewNopSettings(typ), factory.CreateDefaultConfig(), consumertest.NewNop())
	require.NoError(b, err)
	require.NoError(b, p.Start(context.Background(), fakeHost{}))
	defer func() { require.NoError(b, p.Shutdown(context.Background())) }()
	md := newBatch(epoch, 1000).md
	md.ResourceMetrics().RemoveIf(func(pmetric.ResourceMetrics) bool { return true })
	all := &batch{md: md, at: epoch}
	for pid := range processes {
		all.resource(1000+pid).sum(leak.MetricDescriptorCount, 20).sum(leak.MetricDescriptorLimit, 1024).
			sum(leak.MetricMemoryUsage, 1<<24).sum(leak.MetricMemoryAnonymous, 1<<23).
			sum(leak.MetricThreadCount, 12).sum(leak.MetricGoroutineCount, 40).
			sum(leak.MetricDescriptorBySite, 9, leak.AttrObjectKind, "socket", leak.AttrSite, ":8080")
	}
	var points []pmetric.NumberDataPoint
	for i := range processes {
		ms := md.ResourceMetrics().At(i).ScopeMetrics().At(0).Metrics()
		for j := range ms.Len() {
			points = append(points, ms.At(j).Sum().DataPoints().At(0))
		}
	}
	at, i := epoch, 0
	move := func() {
		at = at.Add(10 * time.Second)
		i++
		for j, dp := range points {
			dp.SetTimestamp(pcommon.NewTimestampFromTime(at))
			if j%7 != 1 {
				dp.SetIntValue(int64(20 + (i*7919+j*104729)%13))
			}
		}
	}
	for range 50 {
		move()
		require.NoError(b, p.ConsumeMetrics(context.Background(), md))
	}
	at = epoch.Add(10 * time.Minute)
	b.ReportAllocs()
	b.ResetTimer()
	for b.Loop() {
		b.StopTimer()
		move()
		if at.After(time.Now()) {
			b.Fatal("the benchmark ran out of past")
		}
		b.StartTimer()
		if err := p.ConsumeMetrics(context.Background(), md); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(points)), "ns/point")
}
