// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/procid"
)

// newScanner opens a scanner on this host.
func newScanner(tb testing.TB, change func(*Options)) *Scanner {
	tb.Helper()
	opts := Options{HostID: "host", BootID: "boot"}
	if change != nil {
		change(&opts)
	}
	s, err := New(opts)
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, s.Close()) })
	return s
}

// only restricts a scanner to one process id by name filters being off.
func scan(tb testing.TB, s *Scanner, now time.Time, pid int) *Process {
	tb.Helper()
	all, err := s.Scan(now)
	require.NoError(tb, err)
	for _, p := range all {
		if int(p.Identity.PID) == pid {
			return p
		}
	}
	return nil
}

func TestScanSelf(t *testing.T) {
	s := newScanner(t, func(o *Options) { o.CommandLine = true })
	p := scan(t, s, time.Now(), os.Getpid())
	require.NotNil(t, p)

	want, err := procid.Read("/proc", "host", "boot", int32(os.Getpid()))
	require.NoError(t, err)
	assert.Equal(t, want, p.Identity)
	assert.Equal(t, want.InstanceID(), p.InstanceID)

	exe, err := os.Executable()
	require.NoError(t, err)
	assert.Equal(t, exe, p.Facts.Path)
	assert.EqualValues(t, os.Getppid(), p.Facts.Parent)
	assert.EqualValues(t, os.Getuid(), p.Facts.UID)
	assert.Contains(t, p.Facts.CommandLine, exe)
	assert.WithinDuration(t, time.Now(), p.Created, time.Hour)
	assert.Positive(t, p.Descriptors)
	assert.Positive(t, p.DescriptorLimit)
	assert.Positive(t, p.Threads)
	assert.Greater(t, p.Resident, p.Anonymous)
	assert.Greater(t, p.Virtual, p.Resident)
	assert.Positive(t, p.Anonymous)
	assert.Nil(t, p.Detail)
}

func TestScanAllocatesNothing(t *testing.T) {
	s := newScanner(t, nil)
	now := time.Now()
	for range 3 {
		_, err := s.Scan(now)
		require.NoError(t, err)
	}
	requireNoGarbage(t, s, now)
}

func BenchmarkScan(b *testing.B) {
	for _, detail := range []bool{false, true} {
		b.Run(map[bool]string{false: "tier0", true: "detail"}[detail], func(b *testing.B) {
			s := newScanner(b, func(o *Options) { o.Detail = detail })
			now := time.Now()
			b.ReportAllocs()
			for b.Loop() {
				if _, err := s.Scan(now); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(s.Stats().Processes), "processes")
			b.ReportMetric(float64(s.Stats().Descriptors), "descriptors")
		})
	}
}

// requireNoGarbage scans until a series of scans makes no garbage: processes
// of others may begin and end at any time, and they do cost something.
func requireNoGarbage(t *testing.T, s *Scanner, now time.Time) {
	t.Helper()
	var allocs float64
	for range 50 {
		if allocs = testing.AllocsPerRun(10, func() { _, _ = s.Scan(now) }); allocs == 0 {
			return
		}
	}
	require.Failf(t, "garbage", "%v allocations per scan", allocs)
}
