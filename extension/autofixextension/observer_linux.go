// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/otel-memguard/memguard/internal/remedy"
)

// observer hands the engine's counts to the collector's own telemetry.
func (a *autoFix) observer() remedy.Observer {
	t := a.telemetry
	type series struct {
		counter metric.Int64Counter
		key     string
	}
	by := map[remedy.Counter]series{
		remedy.CountProposed:      {t.AutoFixProposed, "action"},
		remedy.CountRefused:       {t.AutoFixRefused, "guard"},
		remedy.CountApplied:       {t.AutoFixApplied, "action"},
		remedy.CountVerified:      {t.AutoFixVerified, "action"},
		remedy.CountFailed:        {t.AutoFixFailed, "action"},
		remedy.CountRaced:         {t.AutoFixRaced, "action"},
		remedy.CountUnknown:       {t.AutoFixUnknown, "action"},
		remedy.CountQueueRefused:  {t.AutoFixQueueRefused, ""},
		remedy.CountWatchRefused:  {t.AutoFixWatchRefused, ""},
		remedy.CountJournalErrors: {t.AutoFixJournalErrors, "operation"},
		remedy.CountJournalLost:   {t.AutoFixJournalLost, ""},
		remedy.CountLookErrors:    {t.AutoFixLookErrors, "operation"},
	}
	return remedy.Observer{
		Count: func(c remedy.Counter, value string, n int64) {
			s, ok := by[c]
			if !ok {
				return
			}
			if s.key == "" {
				s.counter.Add(context.Background(), n)
				return
			}
			s.counter.Add(context.Background(), n, metric.WithAttributes(attribute.String(s.key, value)))
		},
		Window: func(d time.Duration) { t.AutoFixWindow.Record(context.Background(), d.Seconds()) },
		Say:    a.say,
	}
}

func (a *autoFix) say(l remedy.Level, message string, keysAndValues ...any) {
	logger := a.logger.Sugar()
	switch l {
	case remedy.LevelInfo:
		logger.Infow(message, keysAndValues...)
	case remedy.LevelWarn:
		logger.Warnw(message, keysAndValues...)
	default:
		logger.Errorw(message, keysAndValues...)
	}
}
