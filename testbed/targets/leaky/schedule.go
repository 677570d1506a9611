// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"math/rand/v2"
	"time"
)

// every calls do at a fixed rate until the context ends or the limit of the
// rate is reached.
func every(ctx context.Context, r rate, do func()) {
	ticker := time.NewTicker(r.interval())
	defer ticker.Stop()
	for n := 0; r.limit == 0 || n < r.limit; n++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			do()
		}
	}
}

// holdTime is how long honest work holds an object: between half and one and
// a half of the mean, so that lifetimes have a spread.
func holdTime(mean time.Duration) time.Duration {
	return mean/2 + time.Duration(rand.Int64N(int64(mean)+1))
}

// run drives every leak and every honest use of the plans until ctx ends.
// The fixed twin does the leaking operations too, and closes what they open.
func (s *server) run(ctx context.Context) {
	start := func(p plan, leak bool) {
		for name, r := range p {
			open := s.openers[name]
			s.wg.Go(func() {
				every(ctx, r, func() {
					if leak {
						s.ledger.leak(ctx, name, open)
					} else {
						s.ledger.use(ctx, name, open, holdTime(s.cfg.hold))
					}
				})
			})
		}
	}
	start(s.cfg.leaks, !s.cfg.fixed)
	start(s.cfg.uses, false)
}
