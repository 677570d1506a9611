// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"

	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
)

// outbox holds the closing points of lives that ended, by the pipeline that
// last saw each, until its next batch or the next sweep: no pipeline ever
// waits for another. Nil is the pipeline of a life that was restored and never
// seen again.
type outbox map[*leakProcessor]pmetric.Metrics

func (o outbox) of(sink *leakProcessor) pmetric.Metrics {
	md, ok := o[sink]
	if !ok {
		md = pmetric.NewMetrics()
		o[sink] = md
	}
	return md
}

// take moves what is for a pipeline to the batch that passes through it.
func (o outbox) take(sink *leakProcessor, md pmetric.Metrics) {
	for _, key := range []*leakProcessor{sink, nil} {
		if more, ok := o[key]; ok {
			more.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			delete(o, key)
		}
	}
}

// deliver sends each pipeline its own. What has no pipeline goes by any that
// runs.
func (s *state) deliver(ctx context.Context, out outbox, fallback *leakProcessor) {
	for sink, md := range out {
		if sink == nil {
			sink = fallback
		}
		if sink != nil && sink.started.Load() {
			s.send(ctx, sink, md)
		}
	}
}

func (s *state) send(ctx context.Context, sink *leakProcessor, md pmetric.Metrics) {
	if md.ResourceMetrics().Len() == 0 {
		return
	}
	if err := sink.next.ConsumeMetrics(ctx, md); err != nil {
		s.logger.Warn("Closing points of ended processes were refused by the pipeline", zap.Error(err))
	}
}

// flush sends a pipeline that is about to end what waits for it.
func (s *state) flush(ctx context.Context, sink *leakProcessor) {
	md := pmetric.NewMetrics()
	s.locked(func() []*storage.Operation { s.ended.take(sink, md); return nil })
	s.send(ctx, sink, md)
}
