// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

func stored(disk *memoryStorage, more ...func(*Config)) (fakeHost, func(*Config)) {
	return fakeHost{storageID: disk}, func(c *Config) {
		c.Storage = &storageID
		for _, m := range more {
			m(c)
		}
	}
}

func noHold(c *Config) { c.Proof.Hold = 0 }

// kill -9 right after the batch of the transition: the next collector goes on
// with the finding, its id and its Since, and makes no event again.
func TestRestartMakesNoEventTwice(t *testing.T) {
	t.Parallel()
	disk := &memoryStorage{}
	host, change := stored(disk, noHold)
	r := newRig(t, host, change)
	for i := range 3 {
		r.consume(abandoned(i, 5).md)
	}
	before := r.findings()
	require.Equal(t, []leak.State{leak.StateConfirmed}, transitions(before))

	host, change = stored(disk.crash(), noHold)
	second := newRig(t, host, change)
	second.consume(abandoned(2, 5).md) // the receiver sends the same scan again
	for i := 3; i < 6; i++ {
		second.consume(abandoned(i, 5).md)
	}
	after := second.findings()
	require.Len(t, after, 3)
	assert.Empty(t, transitions(after))
	assert.Equal(t, before[0].ID, after[0].ID)
	assert.True(t, before[0].Since.Equal(after[0].Since))
	for i := 6; i < 9; i++ {
		second.consume(abandoned(i, 0).md)
	}
	assert.Equal(t, []leak.State{leak.StateResolved}, transitions(second.findings()))
}

// A trend that is half way to a finding goes on where it was.
func TestRestartGoesOnWithATrend(t *testing.T) {
	t.Parallel()
	disk := &memoryStorage{}
	host, change := stored(disk, fast)
	run := func(r *rig, from, to int) {
		for i := from; i < to; i++ {
			r.consume(newBatch(epoch.Add(time.Duration(i)*250*time.Millisecond), 10).sum(leak.MetricThreadCount, float64(20+i)).md)
		}
	}
	whole := newRig(t, nil, fast)
	run(whole, 0, 700)
	want := whole.findings()
	require.NotEmpty(t, transitions(want))

	r := newRig(t, host, change)
	run(r, 0, 240)
	require.Empty(t, r.findings())
	r.stop() // an orderly end writes everything
	host, change = stored(disk.crash(), fast)
	second := newRig(t, host, change)
	run(second, 240, 700)
	got := second.findings()
	assert.Equal(t, transitions(want), transitions(got))
	assert.True(t, want[0].Since.Equal(got[0].Since), "%v %v", want[0].Since, got[0].Since)
}

func TestDamagedStateStartsFresh(t *testing.T) {
	t.Parallel()
	good := &memoryStorage{}
	host, change := stored(good)
	r := newRig(t, host, change)
	for i := range 3 {
		r.consume(abandoned(i, 5).md)
	}
	r.stop()
	for name, damage := range map[string]func(map[string][]byte){
		"index cut":      func(d map[string][]byte) { d[indexKey] = d[indexKey][:3] },
		"index flipped":  func(d map[string][]byte) { d[indexKey][5] ^= 1 },
		"record flipped": func(d map[string][]byte) { each(d, func(b []byte) []byte { b[len(b)/2] ^= 1; return b }) },
		"record cut":     func(d map[string][]byte) { each(d, func(b []byte) []byte { return b[:len(b)/2] }) },
		"record empty":   func(d map[string][]byte) { each(d, func([]byte) []byte { return nil }) },
		"older version": func(d map[string][]byte) {
			each(d, func(b []byte) []byte {
				b[4+int(b[0])+int(b[1])<<8] = 0
				return b
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			disk := good.crash()
			for k, v := range disk.data {
				disk.data[k] = append([]byte{}, v...)
			}
			damage(disk.data)
			host, change := stored(disk)
			r := newRig(t, host, change)
			for i := 3; i < 6; i++ {
				r.consume(abandoned(i, 5).md)
			}
			assert.Equal(t, []leak.State{leak.StateConfirmed}, transitions(r.findings()))
		})
	}
}

func each(data map[string][]byte, change func([]byte) []byte) {
	for k, v := range data {
		if k != indexKey {
			data[k] = change(v)
		}
	}
}

func TestFullDiskStopsNothing(t *testing.T) {
	t.Parallel()
	disk := &memoryStorage{fail: true}
	host, change := stored(disk)
	r := newRig(t, host, change)
	for i := range 4 {
		r.consume(abandoned(i, 5).md)
	}
	assert.Len(t, r.findings(), 2)
	_, err := r.telemetry.GetMetric("otelcol_leak_detect_checkpoint_failures")
	require.NoError(t, err)
}
