// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/otel-memguard/memguard/internal/leak"
)

// walkSites makes one walk that meets each site as often as told.
func walkSites(t *siteTable, now time.Time, counts map[string]int64) (folded int64) {
	t.begin()
	for name, n := range counts {
		for range n {
			t.get(kindFile, []byte(name), now).Count++
		}
	}
	return t.finish(now)
}

func reported(t *siteTable) map[string]int64 {
	m := map[string]int64{}
	for _, s := range t.report {
		m[s.Name] += s.Count
	}
	return m
}

func TestSitesAreSticky(t *testing.T) {
	t.Parallel()
	table := newSiteTable(2, 24*time.Hour)
	now := time.Now()
	for i := range 3 {
		walkSites(table, now.Add(time.Duration(i)*time.Second), map[string]int64{"/a": 2, "/b": 1})
	}
	// A larger newcomer does not take a place before its time.
	for i := range 5 {
		folded := walkSites(table, now.Add(time.Duration(10+i)*time.Second), map[string]int64{"/a": 2, "/big": 100})
		assert.EqualValues(t, 100, folded)
	}
	assert.Equal(t, map[string]int64{"/a": 2, "/b": 0, leak.SiteOther: 100}, reported(table))
	// After a day the empty one makes room.
	walkSites(table, now.Add(25*time.Hour), map[string]int64{"/a": 2, "/big": 100})
	assert.Equal(t, map[string]int64{"/a": 2, "/big": 100, leak.SiteOther: 0}, reported(table))
}

func TestUnsettledSiteMakesRoomAtOnce(t *testing.T) {
	t.Parallel()
	table := newSiteTable(1, 24*time.Hour)
	now := time.Now()
	walkSites(table, now, map[string]int64{"/fleeting": 1})
	walkSites(table, now, map[string]int64{"/stays": 1})
	assert.Equal(t, map[string]int64{"/stays": 1}, reported(table))
}

func TestLargerSiteTakesAnOldPlace(t *testing.T) {
	t.Parallel()
	table := newSiteTable(1, time.Hour)
	now := time.Now()
	counts := map[string]int64{"/old": 5}
	for range 3 {
		walkSites(table, now, counts)
	}
	counts["/new"] = 50
	for i := range 4 {
		walkSites(table, now.Add(2*time.Hour+time.Duration(i)*time.Second), counts)
	}
	assert.Equal(t, map[string]int64{"/new": 50, leak.SiteOther: 5}, reported(table))
}

func TestSitesAreBounded(t *testing.T) {
	t.Parallel()
	const limit = 3
	table := newSiteTable(limit, time.Hour)
	now := time.Now()
	counts := map[string]int64{}
	for i := range 1000 {
		counts[fmt.Sprintf("/%d%s", i, strings.Repeat("x", 500))] = 1
	}
	folded := walkSites(table, now, counts)
	assert.EqualValues(t, 1000-limit, folded)
	assert.LessOrEqual(t, len(table.list), limit*(1+candidatesPerSite))
	for _, s := range table.report {
		assert.LessOrEqual(t, len(s.Name), leak.MaxSiteLength)
	}
	walkSites(table, now, nil)
	assert.Empty(t, table.list, "sites that come and go leave nothing behind")
}

func TestFoldedLifetimesAccumulate(t *testing.T) {
	t.Parallel()
	table := newSiteTable(1, time.Hour)
	now := time.Now()
	counts := map[string]int64{"/a": 9, "/b": 1}
	walkSites(table, now, counts)
	for range 2 {
		table.begin()
		table.get(kindFile, []byte("/a"), now).Count = 9
		b := table.get(kindFile, []byte("/b"), now)
		b.Count = 1
		b.Lifetime.add(time.Second)
		table.finish(now)
	}
	for _, s := range table.report {
		if s.Name == leak.SiteOther {
			assert.EqualValues(t, 2, s.Lifetime.Count)
		}
	}
}

// Names that a process chose may differ in control characters only: they are
// one series, not two points of one.
func TestNamesThatCleanAlikeAreOneSite(t *testing.T) {
	t.Parallel()
	table := newSiteTable(4, time.Hour)
	now := time.Now()
	names := map[string]int64{"/a\nb": 1, "/a\tb": 2, "/a\x01b": 3}
	for range 3 {
		walkSites(table, now, names)
		assert.Len(t, table.report, 1)
		assert.Equal(t, map[string]int64{"/a?b": 6}, reported(table))
	}
	walkSites(table, now.Add(2*time.Hour), nil)
	assert.Empty(t, table.byName[kindFile], "all spellings leave with the site")
}
