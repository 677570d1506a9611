// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import "time"

// Counter is something that the engine counts.
type Counter int

// What is counted. The attribute handed along is given behind each.
const (
	CountProposed      Counter = iota // action
	CountRefused                      // guard
	CountApplied                      // action
	CountVerified                     // action
	CountFailed                       // action
	CountRaced                        // action
	CountUnknown                      // action
	CountQueueRefused                 // -
	CountWatchRefused                 // -
	CountJournalErrors                // operation
	CountJournalLost                  // -
	CountLookErrors                   // what could not be read
	counters
)

// Level is how much a message matters to an operator.
type Level int

// The levels.
const (
	LevelInfo Level = iota
	LevelWarn
	LevelError
)

// Observer is how the engine reaches the telemetry of whoever runs it. Its
// functions are called from the engine's goroutine and must not block.
type Observer struct {
	Count  func(c Counter, attribute string, n int64)
	Window func(d time.Duration) // from the last look to the end of an act
	Say    func(l Level, message string, keysAndValues ...any)
}

func (o Observer) withDefaults() Observer {
	if o.Count == nil {
		o.Count = func(Counter, string, int64) {}
	}
	if o.Window == nil {
		o.Window = func(time.Duration) {}
	}
	if o.Say == nil {
		o.Say = func(Level, string, ...any) {}
	}
	return o
}

// Settings are what an engine needs. Zero values mean the defaults of the
// Default constants, where there is one.
type Settings struct {
	Mode             Mode
	Directory        string // journal, kill switch, control socket
	RuntimeDirectory string // host lease; Directory where empty
	Policies         []Policy
	Protected        Protected // added to DefaultProtected
	Limits           Limits

	WatchInterval   time.Duration
	VerifyTimeout   time.Duration
	ApprovalTimeout time.Duration
	QueueSize       int // findings that wait for the worker
	MaxFindings     int
	MaxObjects      int // objects watched
	Journal         JournalOptions
	Observer        Observer
}

// Defaults of Settings.
const (
	DefaultWatchInterval   = 5 * time.Second
	DefaultVerifyTimeout   = 10 * time.Second
	DefaultApprovalTimeout = time.Hour
	DefaultQueueSize       = 1024
	DefaultMaxFindings     = 4096
	DefaultMaxObjects      = 65536
)

func orDefault[T comparable](value, standard T) T {
	var zero T
	if value == zero {
		return standard
	}
	return value
}

func (s Settings) withDefaults() Settings {
	s.Mode = orDefault(s.Mode, ModeDryRun)
	s.RuntimeDirectory = orDefault(s.RuntimeDirectory, s.Directory)
	s.Limits = orDefault(s.Limits, DefaultLimits())
	s.WatchInterval = orDefault(s.WatchInterval, DefaultWatchInterval)
	s.VerifyTimeout = orDefault(s.VerifyTimeout, DefaultVerifyTimeout)
	s.ApprovalTimeout = orDefault(s.ApprovalTimeout, DefaultApprovalTimeout)
	s.QueueSize = orDefault(s.QueueSize, DefaultQueueSize)
	s.MaxFindings = orDefault(s.MaxFindings, DefaultMaxFindings)
	s.MaxObjects = orDefault(s.MaxObjects, DefaultMaxObjects)
	s.Observer = s.Observer.withDefaults()
	policies := make([]Policy, len(s.Policies))
	for i, p := range s.Policies {
		policies[i] = p.WithDefaults()
	}
	s.Policies = policies
	return s
}
