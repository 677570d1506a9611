// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"math/bits"
	"time"
)

// latencies is a histogram of bounded size: 16 buckets to each power of two
// of microseconds, so a percentile is read within 6 %.
type latencies struct {
	counts [64 * perOctave]int64
	total  int64
	max    time.Duration
}

const perOctave = 16

func (l *latencies) add(d time.Duration) {
	l.counts[bucket(d)]++
	l.total++
	l.max = max(l.max, d)
}

// bucket numbers values below 16 µs one by one, then 16 to an octave.
func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), 0))
	if us < perOctave {
		return int(us)
	}
	shift := bits.Len64(us) - 5
	return perOctave*(shift+1) + int(us>>shift) - perOctave
}

// upper is the highest value of a bucket.
func upper(b int) time.Duration {
	if b < perOctave {
		return time.Duration(b) * time.Microsecond
	}
	shift := b/perOctave - 1
	return time.Duration((uint64(b%perOctave+perOctave+1)<<shift)-1) * time.Microsecond
}

func (l *latencies) percentile(p float64) time.Duration {
	want := int64(p * float64(l.total))
	var seen int64
	for b, n := range l.counts {
		if seen += n; n > 0 && seen > want {
			return min(upper(b), l.max)
		}
	}
	return l.max
}
