// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/detect"
	"github.com/otel-memguard/memguard/internal/leak"
)

// A client that talks to one peer after the other is judged at the newest as
// at the first.
func TestSitesOfThePastMakeRoom(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	at := epoch.Add(-100 * time.Hour)
	peer := func(site string, abandoned float64) {
		at = at.Add(2 * time.Minute)
		labels := []string{leak.AttrObjectKind, "socket", leak.AttrSite, site}
		zero := make([]uint64, len(bounds)+1)
		r.consume(newBatch(at, 10).sum(leak.MetricSocketAbandoned, abandoned, labels[2:]...).
			sum(leak.MetricDescriptorBySite, 3, labels...).sum(leak.MetricDescriptorIdle, 0, labels...).
			histogram(leak.MetricObjectLifetime, epoch, bounds, zero, labels...).
			histogram(leak.MetricObjectAge, at, bounds, zero, labels...).md)
	}
	for i := range 300 {
		for range 3 {
			peer(fmt.Sprintf("10.0.%d.%d:443", i/250, i%250), 5)
		}
	}
	require.Contains(t, transitions(r.findings()), leak.StateConfirmed)
	assert.Zero(t, r.counted("series_refused", "sites"))
	assert.Less(t, r.counted("series", ""), int64(200))
	for range 4 {
		peer("10.9.9.9:443", 50)
	}
	assert.Contains(t, transitions(r.findings()), leak.StateConfirmed)
}

// Sites that found no room are judged as soon as there is some.
func TestACrowdedSiteIsJudgedLater(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	send := func(i, sites int) {
		b := newBatch(epoch.Add(time.Duration(i)*time.Minute), 10)
		for s := range sites {
			b.sum(leak.MetricSocketAbandoned, 0, leak.AttrSite, fmt.Sprint("old", s))
		}
		r.consume(b.sum(leak.MetricSocketAbandoned, 50, leak.AttrSite, "new").md)
	}
	send(0, detect.MaxGroups)
	send(1, detect.MaxGroups)
	assert.EqualValues(t, 2, r.counted("series_refused", "sites"))
	for i := 2; i < 40; i++ {
		send(i, 1)
	}
	assert.Equal(t, []leak.State{leak.StateConfirmed}, transitions(r.findings()))
}

// What was read from storage and never comes again makes room, too.
func TestRestoredSitesMakeRoom(t *testing.T) {
	t.Parallel()
	disk := &memoryStorage{}
	host, change := stored(disk)
	r := newRig(t, host, change)
	for i := range 3 {
		b := newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10)
		for s := range detect.MaxGroups {
			labels := []string{leak.AttrObjectKind, "socket", leak.AttrSite, fmt.Sprint("old", s)}
			b.histogram(leak.MetricObjectLifetime, epoch, bounds, make([]uint64, len(bounds)+1), labels...)
			b.sum(leak.MetricSocketAbandoned, 9, labels[2:]...)
		}
		r.consume(b.md)
	}
	r.stop()
	host, change = stored(disk.crash())
	r = newRig(t, host, change)
	for i := range 60 {
		r.consume(newBatch(epoch.Add(time.Duration(1+i)*time.Minute), 10).sum(leak.MetricSocketAbandoned, 50, leak.AttrSite, "new").md)
	}
	var confirmed, resolved int
	for _, f := range r.findings() {
		switch {
		case f.Transition() && f.State == leak.StateConfirmed:
			confirmed++
			assert.Equal(t, "new", f.Site)
		case f.Transition() && f.State == leak.StateResolved:
			resolved++
		}
	}
	assert.Equal(t, 1, confirmed)
	assert.Equal(t, detect.MaxGroups, resolved)
}
