// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlan(t *testing.T) {
	t.Parallel()
	p := plan{}
	require.NoError(t, p.Set("close_wait=2/s, file=30/m:7"))
	require.NoError(t, p.Set("cache=0.5/s"))
	assert.Equal(t, plan{"close_wait": {2, 0}, "file": {0.5, 7}, "cache": {0.5, 0}}, p)
	assert.Equal(t, "cache=0.5/s,close_wait=2/s,file=0.5/s:7", p.String())
	assert.Equal(t, 2*time.Second, p["file"].interval())

	for text, want := range map[string]string{
		"":             "want kind=RATE/s",
		"memory=1/s":   "with kind one of close_wait",
		"file=1":       `the rate "1" is not NUMBER/s`,
		"file=x/s":     `the rate "x/s"`,
		"file=1/h":     `the rate "1/h"`,
		"file=0/s":     "is not above 0",
		"file=NaN/s":   "is not above 0",
		"file=1e9/s":   "at most 10000/s",
		"file=1/s:0":   `the limit "0"`,
		"file=1/s:all": `the limit "all"`,
	} {
		require.ErrorContains(t, plan{}.Set(text), want, text)
	}
	err := plan{}.Set("a=1/s,b=1/s")
	require.ErrorContains(t, err, `"a=1/s"`)
	require.ErrorContains(t, err, `"b=1/s"`)
}

func TestEveryKeepsItsRateAndItsLimit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began, n := time.Now(), 0
		every(t.Context(), rate{perSecond: 10, limit: 25}, func() { n++ })
		assert.Equal(t, 25, n)
		assert.Equal(t, 2500*time.Millisecond, time.Since(began))
	})
}

func TestLedgerIsBoundedAndClosesAtTheEnd(t *testing.T) {
	t.Parallel()
	closed := 0
	open := func(context.Context) (io.Closer, error) {
		return closerFunc(func() error {
			closed++
			return nil
		}), nil
	}
	l := newLedger(2)
	for range 3 {
		l.leak(t.Context(), kindFile, open)
	}
	l.leak(t.Context(), kindTimer, func(context.Context) (io.Closer, error) { return nil, errors.New("no more") })
	l.use(t.Context(), kindTimer, func(context.Context) (io.Closer, error) { return nil, errors.New("no more") }, 0)
	assert.Equal(t, map[string]tally{
		kindFile:  {Leaked: 2, Opened: 2, Refused: 1},
		kindTimer: {Errors: 2},
	}, l.tallies())
	l.close()
	assert.Equal(t, 2, closed)
	assert.Empty(t, l.keptOf(kindFile))
}
