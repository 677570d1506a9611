// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

// busyLife is a life with something of everything.
func busyLife(tb testing.TB, e *Engine) *Life {
	tb.Helper()
	l := NewLife("life", &leak.Process{HostID: "h", PID: 7}, nil, origin)
	l.SetLimit(origin, "limit", 1024)
	count := l.Series(e, &Spec{ID: "a", Metric: "count", Kind: leak.KindDescriptor, Limit: "limit", Scope: "process"})
	gone := l.Series(e, &Spec{ID: "b", Metric: leak.MetricSocketAbandoned, Kind: leak.KindSocket, Site: ":80", Use: UseProof})
	idle := l.Series(e, &Spec{ID: "c", Metric: leak.MetricDescriptorIdle, Kind: leak.KindSocket, Site: ":80", Use: UseIdle})
	objects := l.Objects(leak.KindSocket, ":80")
	p := &population{r: rand.New(rand.NewPCG(1, 1)), dead: make([]uint64, len(objectBounds)+1), idle: true}
	for i := range 400 {
		p.now = float64(i) * 10
		p.closeShort(100, 0.2)
		p.open(3, forever)
		p.scan(e, objects, idle)
		at := origin + int64(p.now*1e9)
		count.Observe(e, 0, at, float64(100+2*i))
		gone.Observe(e, 0, at, float64(i))
		e.Judge(l)
		l.Findings(nil, true)
	}
	require.True(tb, l.HasFindings())
	return l
}

func TestCodecKeepsEverything(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	l := busyLife(t, e)
	data := e.Encode(nil, l)
	t.Logf("%d bytes", len(data))
	again, err := e.Decode(data)
	require.NoError(t, err)
	assert.Equal(t, data, e.Encode(nil, again))
	var before, after []leak.Finding
	l.Open(func(f *leak.Finding) { before = append(before, *f) })
	again.Open(func(f *leak.Finding) { after = append(after, *f) })
	require.Len(t, after, len(before))
	for i := range before {
		assert.Equal(t, before[i].ID, after[i].ID)
		assert.True(t, before[i].Since.Equal(after[i].Since))
	}
	again.Series(e, &Spec{ID: "a", Metric: "count", Kind: leak.KindDescriptor, Limit: "limit"})
	assert.Len(t, again.groups[0].series, 1, "found again, not made anew")
}

func TestCodecRefuses(t *testing.T) {
	t.Parallel()
	e := newEngine(t)
	data := e.Encode(nil, busyLife(t, e))
	_, err := e.Decode(nil)
	require.ErrorIs(t, err, ErrCorrupt)
	older := append([]byte{}, data...)
	older[0]--
	_, err = e.Decode(older)
	require.ErrorIs(t, err, ErrVersion)
	flipped := append([]byte{}, data...)
	flipped[len(flipped)/2] ^= 4
	_, err = e.Decode(flipped)
	require.ErrorIs(t, err, ErrCorrupt)
	_, err = newEngine(t, func(c *Config) { c.TimeScale = 2 }).Decode(data)
	require.ErrorIs(t, err, ErrCorrupt, "its blocks have another length")
}

func FuzzDecode(f *testing.F) {
	e := newEngine(f)
	data := e.Encode(nil, busyLife(f, e))
	f.Add(data[1 : len(data)-4])
	f.Add(data[1:100])
	f.Fuzz(func(t *testing.T, data []byte) {
		e := newEngine(t)
		// What a wrong checksum hides must be safe too.
		c := codec{buf: data, read: true}
		l := &Life{}
		c.life(e, l)
		if c.failed {
			return
		}
		for i, g := range l.groups {
			for _, s := range g.series {
				s.Observe(e, 0, s.last+int64(i)+1, 1)
			}
		}
		e.Judge(l)
		l.Findings(nil, true)
	})
}

func BenchmarkEncode(b *testing.B) {
	e := newEngine(b)
	l := busyLife(b, e)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = e.Encode(buf[:0], l)
	}
}
