// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"sync"

	"github.com/otel-memguard/memguard/internal/leak"
)

// queue holds the newest sight of each finding until the worker takes it. It
// is bounded, and putting never waits for the worker.
type queue struct {
	mu      sync.Mutex
	max     int
	waiting map[string]leak.Finding
}

func newQueue(limit int) *queue {
	return &queue{max: limit, waiting: map[string]leak.Finding{}}
}

func (q *queue) put(f leak.Finding) bool {
	if f.Provenance != nil {
		copied := *f.Provenance
		f.Provenance = &copied
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, known := q.waiting[f.ID]; !known && len(q.waiting) >= q.max {
		return false
	}
	q.waiting[f.ID] = f
	return true
}

func (q *queue) take() map[string]leak.Finding {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil
	}
	taken := q.waiting
	q.waiting = map[string]leak.Finding{}
	return taken
}
