// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// leakProcessor is the place of leak_detect in one pipeline. What it knows is
// in state, which processors of the same id share.
type leakProcessor struct {
	state   *state
	next    consumer.Metrics
	started atomic.Bool
}

func (p *leakProcessor) start(ctx context.Context, host component.Host) error {
	if err := p.state.start(ctx, host); err != nil {
		return err
	}
	p.started.Store(true)
	p.state.adoptPipeline(p)
	return nil
}

func (p *leakProcessor) shutdown(ctx context.Context) error {
	if !p.started.Swap(false) {
		return nil
	}
	p.state.flush(ctx, p)
	return p.state.stop(ctx)
}

func (p *leakProcessor) process(ctx context.Context, md pmetric.Metrics) (pmetric.Metrics, error) {
	p.state.consume(ctx, md, p)
	return md, nil
}
