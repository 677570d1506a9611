// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// Summary is what the client saw. Every request sent is either ok or failed,
// and every failure has one cause.
type Summary struct {
	Sent        int64   `json:"sent"`
	OK          int64   `json:"ok"`
	Failed      int64   `json:"failed"`
	Reset       int64   `json:"reset"`       // ECONNRESET
	BrokenPipe  int64   `json:"broken_pipe"` // EPIPE
	EOF         int64   `json:"eof"`         // the server closed instead of answering
	Timeout     int64   `json:"timeout"`
	Refused     int64   `json:"refused"`    // could not connect
	BadStatus   int64   `json:"bad_status"` // any but 200
	Other       int64   `json:"other"`
	Dials       int64   `json:"dials"`  // connections opened: the number of workers unless one broke
	Missed      int64   `json:"missed"` // requests that their worker was too busy to send on time
	Seconds     float64 `json:"seconds"`
	PerSecond   float64 `json:"per_second"`
	P50Millis   float64 `json:"p50_ms"`
	P90Millis   float64 `json:"p90_ms"`
	P99Millis   float64 `json:"p99_ms"`
	MaxMillis   float64 `json:"max_ms"`
	FirstError  string  `json:"first_error,omitempty"`
	Interrupted bool    `json:"interrupted,omitempty"`
}

// Resets is the number of requests that ended because the connection broke.
func (s *Summary) Resets() int64 { return s.Reset + s.BrokenPipe + s.EOF }

var errStatus = errors.New("status")

// errDial marks failures to connect, which are no resets.
var errDial = errors.New("dial")

func (s *Summary) count(err error) {
	s.Sent++
	if err == nil {
		s.OK++
		return
	}
	s.Failed++
	if s.FirstError == "" {
		s.FirstError = err.Error()
	}
	var timeout net.Error
	switch {
	case errors.Is(err, errDial):
		s.Refused++
	case errors.Is(err, errStatus):
		s.BadStatus++
	case errors.Is(err, syscall.ECONNRESET):
		s.Reset++
	case errors.Is(err, syscall.EPIPE):
		s.BrokenPipe++
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		s.EOF++
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded),
		errors.As(err, &timeout) && timeout.Timeout():
		s.Timeout++
	default:
		s.Other++
	}
}

func (s *Summary) finish(l *latencies, took time.Duration) {
	millis := func(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
	s.Seconds = took.Seconds()
	if took > 0 {
		s.PerSecond = float64(s.Sent) / took.Seconds()
	}
	s.P50Millis = millis(l.percentile(0.5))
	s.P90Millis = millis(l.percentile(0.9))
	s.P99Millis = millis(l.percentile(0.99))
	s.MaxMillis = millis(l.max)
}
