// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A process that holds more than the budget is read too, and pays for it with
// the budgets of the scans that follow: over time the budget holds.
func TestBudgetIsPaidBack(t *testing.T) {
	h := startHolder(t)
	h.do(t, "eventfd 200")
	const budget, scans = 50, 24
	s := detailed(t, func(o *Options) {
		o.Budget = budget
		o.Want = func(f *Facts) bool { return f.Parent == int32(testPID) }
	})
	now := time.Now()
	total, walks := 0, 0
	for i := range scans {
		_, err := s.Scan(now.Add(time.Duration(i) * time.Second))
		require.NoError(t, err)
		total += s.Stats().Descriptors
		walks += s.Stats().Detailed
	}
	assert.GreaterOrEqual(t, walks, 2, "it gets its turns")
	assert.LessOrEqual(t, total, scans*budget+250, "one turn beyond the budget at most")
}

// Without a sight of the program only its name tells that it is another one.
func TestNameFollowsAnUnreadableProgram(t *testing.T) {
	h := startHolder(t)
	s := newScanner(t, func(o *Options) { o.Want = func(f *Facts) bool { return f.Name != "renamed" } })
	p := scan(t, s, time.Now(), h.pid())
	require.NotNil(t, p)
	l := s.lives[int32(h.pid())]
	l.Facts.Path = "" // as it is where the program may not be read
	r := record{pid: l.pid, parent: l.parent, startTicks: l.Identity.StartTicks, layout: l.layout, comm: []byte("renamed")}
	version := l.Version
	assert.False(t, s.measure(&r), "excluded by its new name")
	assert.Equal(t, "renamed", l.Facts.Name)
	assert.Greater(t, l.Version, version)
}
