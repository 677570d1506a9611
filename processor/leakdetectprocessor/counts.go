// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-memguard/memguard/internal/detect"
)

// Reasons for which a point is refused before it reaches the engine; those of
// the engine come first.
const (
	reasonMonotonic = iota + len(detect.RefusalNames)
	reasonDelta
	reasonType
	reasonFuture
	reasonNoTime
	reasons
)

var reasonNames = append(append([]string{}, detect.RefusalNames[:]...),
	"monotonic", "delta", "wrong_type", "future", "no_timestamp")

// counts gathers what a batch counts, so that telemetry is written once.
type counts struct {
	judged  int64
	refused [reasons]int64
	passed  int64
	tooMany int64
	full    int64
	sites   int64
}

func (c *counts) refuse(reason, n int) { c.refused[reason] += int64(n) }

func (c *counts) result(r detect.Refusal) {
	if r == detect.Accepted {
		c.judged++
		return
	}
	c.refused[r]++
}

// flush writes the counts to telemetry.
func (c *counts) flush(ctx context.Context, s *state) {
	t, a := s.telemetry, &s.sets
	t.LeakDetectPointsJudged.Add(ctx, c.judged)
	for reason, n := range c.refused {
		if n != 0 {
			t.LeakDetectPointsRefused.Add(ctx, n, a.reasons[reason])
		}
	}
	for _, of := range []struct {
		n      int64
		option metric.AddOption
	}{{c.tooMany, a.tooMany}, {c.full, a.full}, {c.sites, a.site}} {
		if of.n != 0 {
			t.LeakDetectSeriesRefused.Add(ctx, of.n, of.option)
		}
	}
	if c.passed != 0 {
		t.LeakDetectResourcesPassed.Add(ctx, c.passed)
	}
}

// attributeSets are made once: options cost an allocation each.
type attributeSets struct {
	reasons             [reasons]metric.AddOption
	tooMany, full, site metric.AddOption
}

func newAttributeSets() attributeSets {
	option := func(reason string) metric.AddOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("reason", reason)))
	}
	a := attributeSets{tooMany: option("attributes"), full: option("max_series"), site: option("sites")}
	for i, name := range reasonNames {
		a.reasons[i] = option(name)
	}
	return a
}
