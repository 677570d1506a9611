// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"io"
	"sync"
	"time"
)

// opener opens one object of a kind.
type opener func(ctx context.Context) (io.Closer, error)

// tally is what happened to the objects of one kind, as /truth tells it.
type tally struct {
	Leaked  int `json:"leaked"`  // opened and kept for ever
	Opened  int `json:"opened"`  // all that were opened
	Closed  int `json:"closed"`  // closed as they should be
	Errors  int `json:"errors"`  // could not be opened
	Refused int `json:"refused"` // not leaked, because the ledger was full
}

// ledger keeps the leaked objects reachable, so that no finalizer closes
// them, and counts the rest.
type ledger struct {
	max int

	mu   sync.Mutex
	kept map[string][]io.Closer
	sums map[string]*tally
	wg   sync.WaitGroup
}

func newLedger(maxKept int) *ledger {
	return &ledger{max: maxKept, kept: map[string][]io.Closer{}, sums: map[string]*tally{}}
}

func (l *ledger) tally(name string) *tally {
	t, ok := l.sums[name]
	if !ok {
		t = &tally{}
		l.sums[name] = t
	}
	return t
}

// leak opens an object and keeps it.
func (l *ledger) leak(ctx context.Context, name string, open opener) {
	l.mu.Lock()
	full := len(l.kept[name]) >= l.max
	if full {
		l.tally(name).Refused++
	}
	l.mu.Unlock()
	if full {
		return
	}
	object, err := open(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tally(name)
	if err != nil {
		t.Errors++
		return
	}
	t.Opened++
	t.Leaked++
	l.kept[name] = append(l.kept[name], object)
}

// use opens an object, holds it as long as honest work would, and closes it.
func (l *ledger) use(ctx context.Context, name string, open opener, hold time.Duration) {
	object, err := open(ctx)
	l.mu.Lock()
	t := l.tally(name)
	if err != nil {
		t.Errors++
		l.mu.Unlock()
		return
	}
	t.Opened++
	l.mu.Unlock()
	l.wg.Go(func() {
		select {
		case <-ctx.Done():
		case <-time.After(hold):
		}
		object.Close()
		l.mu.Lock()
		defer l.mu.Unlock()
		t.Closed++
	})
}

func (l *ledger) tallies() map[string]tally {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string]tally, len(l.sums))
	for name, t := range l.sums {
		out[name] = *t
	}
	return out
}

// keptOf returns the leaked objects of a kind, oldest first.
func (l *ledger) keptOf(name string) []io.Closer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]io.Closer(nil), l.kept[name]...)
}

// close ends the process cleanly: the leak lasted as long as it should.
func (l *ledger) close() {
	l.wg.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, objects := range l.kept {
		for _, object := range objects {
			object.Close()
		}
		delete(l.kept, name)
	}
}
