// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/processor"
	"go.opentelemetry.io/collector/processor/processorhelper"

	"github.com/otel-memguard/memguard/processor/leakdetectprocessor/internal/metadata"
)

// NewFactory returns the factory of leak_detect. Processors that it makes
// with the same id share one state.
func NewFactory() processor.Factory {
	f := &factory{states: map[component.ID]*state{}}
	return processor.NewFactory(metadata.Type, createDefaultConfig, processor.WithMetrics(f.createMetrics, metadata.MetricsStability))
}

type factory struct {
	mu     sync.Mutex
	states map[component.ID]*state
}

func (f *factory) createMetrics(ctx context.Context, set processor.Settings, cfg component.Config, next consumer.Metrics) (processor.Metrics, error) {
	st, err := f.state(set, cfg.(*Config))
	if err != nil {
		return nil, err
	}
	p := &leakProcessor{state: st, next: next}
	return processorhelper.NewMetrics(ctx, set, cfg, next, p.process,
		processorhelper.WithCapabilities(consumer.Capabilities{MutatesData: true}),
		processorhelper.WithStart(p.start), processorhelper.WithShutdown(p.shutdown))
}

// state returns the shared state of an id. It lives from the first processor
// made until the last one that was started is shut down.
func (f *factory) state(set processor.Settings, cfg *Config) (*state, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if st, ok := f.states[set.ID]; ok && st.cfg == cfg {
		return st, nil
	}
	st, err := newState(set, cfg)
	if err != nil {
		return nil, err
	}
	f.states[set.ID] = st
	st.release = func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.states[set.ID] == st {
			delete(f.states, set.ID)
		}
	}
	return st, nil
}
