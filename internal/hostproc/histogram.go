// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"sort"
	"time"
)

// Bounds of the lifetime and age histograms in seconds: geometric, from what a
// scan can hardly see to a day.
func Bounds() []float64 {
	return append([]float64(nil), bounds[:]...)
}

var bounds = [...]float64{
	0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400,
}

// Histogram counts durations in the buckets of Bounds.
type Histogram struct {
	Counts [len(bounds) + 1]uint64
	Count  uint64
	Sum    float64 // seconds
}

func (h *Histogram) add(d time.Duration) {
	seconds := max(d.Seconds(), 0)
	h.Counts[sort.SearchFloat64s(bounds[:], seconds)]++
	h.Count++
	h.Sum += seconds
}

func (h *Histogram) merge(from *Histogram) {
	for i, n := range from.Counts {
		h.Counts[i] += n
	}
	h.Count += from.Count
	h.Sum += from.Sum
}

// beyondBounds stands for a quantile in the last, open bucket.
const beyondBounds = 365 * 24 * time.Hour

// p99Bound returns the upper bound of the bucket that holds the 99th
// percentile, and false where fewer than atLeast values are known.
func (h *Histogram) p99Bound(atLeast uint64) (time.Duration, bool) {
	if h.Count < atLeast {
		return 0, false
	}
	want := 0.99 * float64(h.Count)
	var seen uint64
	for i, bound := range bounds {
		seen += h.Counts[i]
		if float64(seen) >= want {
			return time.Duration(bound * float64(time.Second)), true
		}
	}
	return beyondBounds, true
}
