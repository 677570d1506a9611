// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/hostproc"
	"github.com/otel-memguard/memguard/internal/leak"
)

var bounds = hostproc.Bounds()

// appendHistograms writes what mdatagen's builder cannot: histograms. The
// lifetimes accumulate; the ages are those of the living now, so their start
// is their time.
func appendHistograms(metrics pmetric.MetricSlice, d *hostproc.Detail, ts pcommon.Timestamp) {
	lifetimes := histogram(metrics, leak.MetricObjectLifetime, "Time for which descriptors that were opened and closed since StartTimestamp had been open.")
	for _, site := range d.Sites {
		appendHistogram(lifetimes, site, &site.Lifetime, pcommon.NewTimestampFromTime(site.Start), ts)
	}
	ages := histogram(metrics, leak.MetricObjectAge, "Time for which the open descriptors have been open, or seen open.")
	for _, site := range d.Sites {
		appendHistogram(ages, site, &site.Age, ts, ts)
	}
}

func histogram(metrics pmetric.MetricSlice, name, description string) pmetric.HistogramDataPointSlice {
	m := metrics.AppendEmpty()
	m.SetName(name)
	m.SetDescription(description)
	m.SetUnit("s")
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	return h.DataPoints()
}

func appendHistogram(points pmetric.HistogramDataPointSlice, site *hostproc.Site, h *hostproc.Histogram, start, ts pcommon.Timestamp) {
	dp := points.AppendEmpty()
	dp.SetStartTimestamp(start)
	dp.SetTimestamp(ts)
	dp.SetCount(h.Count)
	dp.SetSum(h.Sum)
	dp.ExplicitBounds().FromRaw(bounds)
	dp.BucketCounts().FromRaw(h.Counts[:])
	dp.Attributes().EnsureCapacity(2)
	dp.Attributes().PutStr(leak.AttrObjectKind, string(site.Kind))
	dp.Attributes().PutStr(leak.AttrSite, site.Name)
}
