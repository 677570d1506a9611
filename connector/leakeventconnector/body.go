// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakeventconnector

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// body says in plain words what was found, on what grounds, and what to do
// next, for somebody who was woken by it.
func body(f *leak.Finding) string {
	var b strings.Builder
	b.WriteString(subject(f))
	b.WriteString(": ")
	b.WriteString(headline(f))
	if f.State.Open() {
		writeFigures(&b, f)
	}
	if f.Reason != "" {
		b.WriteString(" Why: ")
		b.WriteString(strings.TrimSuffix(f.Reason, "."))
		b.WriteByte('.')
	}
	if f.State.Open() {
		b.WriteString(" Next: ")
		b.WriteString(nextStep(f))
	}
	if f.TimeScale != 1 {
		fmt.Fprintf(&b, " (All waits were divided by %g.)", f.TimeScale)
	}
	return b.String()
}

func subject(f *leak.Finding) string {
	name := f.Process.ExecutableName
	if name == "" {
		name = f.Process.ServiceName
	}
	switch {
	case name != "" && f.Process.PID > 0:
		return fmt.Sprintf("%s (pid %d)", name, f.Process.PID)
	case name != "":
		return name
	case f.Process.PID > 0:
		return fmt.Sprintf("pid %d", f.Process.PID)
	default:
		return f.Source
	}
}

func headline(f *leak.Finding) string {
	what := plural(f.Kind)
	if f.Site != "" {
		what += " at " + f.Site
	}
	switch f.State {
	case leak.StateSuspected:
		return what + " may be leaking."
	case leak.StateLikely:
		return what + " are likely leaking (a strong trend, not yet proof)."
	case leak.StateConfirmed:
		return what + " are leaking, confirmed by " + string(f.Basis) + "."
	case leak.StateAtRisk:
		return what + " climb toward a limit; that says nothing yet about why."
	case leak.StateResolved:
		return "the growth of " + what + " has ended."
	case leak.StateRetracted:
		return "the finding about " + what + " is withdrawn: later evidence speaks against it."
	default:
		return what + "."
	}
}

func plural(k leak.Kind) string {
	switch k {
	case leak.KindMemory:
		return "memory"
	case leak.KindEpoll, leak.KindInotify, leak.KindEventfd, leak.KindTimerfd:
		return string(k) + " descriptors"
	default:
		return string(k) + "s"
	}
}

func writeFigures(b *strings.Builder, f *leak.Finding) {
	if known(f.Growth) {
		b.WriteString(" Growth ")
		b.WriteString(rate(f))
		if !f.Onset.IsZero() {
			b.WriteString(" since " + f.Onset.UTC().Format("2006-01-02 15:04:05 MST"))
		}
		b.WriteByte('.')
	}
	if known(f.Value) {
		b.WriteString(" Now " + quantity(f, f.Value) + ".")
	}
	if known(f.Limit) {
		b.WriteString(" Limit")
		if f.LimitScope != "" {
			b.WriteString(" of the " + f.LimitScope)
		}
		b.WriteString(" " + quantity(f, f.Limit))
		if known(f.TimeToExhaustion) {
			b.WriteString(", reached in about " + span(f.TimeToExhaustion))
		}
		b.WriteByte('.')
	}
	if known(f.Evidence) && f.Basis != leak.BasisProof && f.Basis != leak.BasisLimit {
		fmt.Fprintf(b, " Evidence 10^%.1f to 1.", f.Evidence)
	}
}

func known(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

func rate(f *leak.Finding) string {
	if f.Kind.Bytes() {
		return size(f.Growth*3600) + " an hour"
	}
	for _, per := range []struct {
		span    string
		seconds float64
	}{{"a second", 1}, {"a minute", 60}, {"an hour", 3600}} {
		if math.Abs(f.Growth)*per.seconds >= 0.995 {
			return decimal(f.Growth*per.seconds) + " " + per.span
		}
	}
	return decimal(f.Growth*86400) + " a day"
}

// decimal gives three significant digits, never an exponent.
func decimal(v float64) string {
	digits := 2
	for scale := 10.0; digits > 0 && math.Abs(v) >= scale; scale *= 10 {
		digits--
	}
	text := strconv.FormatFloat(v, 'f', digits, 64)
	if digits > 0 {
		text = strings.TrimRight(strings.TrimRight(text, "0"), ".")
	}
	return text
}

func quantity(f *leak.Finding, v float64) string {
	if f.Kind.Bytes() {
		return size(v)
	}
	return strconv.FormatFloat(math.Round(v), 'f', -1, 64)
}

func size(v float64) string {
	for _, u := range []struct {
		unit string
		size float64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if math.Abs(v) >= u.size {
			return decimal(v/u.size) + " " + u.unit
		}
	}
	return fmt.Sprintf("%.0f B", v)
}

func span(seconds float64) string {
	switch {
	case seconds < 120:
		return fmt.Sprintf("%.0f s", seconds)
	case seconds < 2*time.Hour.Seconds():
		return fmt.Sprintf("%.0f min", seconds/60)
	case seconds < 48*time.Hour.Seconds():
		return fmt.Sprintf("%.0f h", seconds/3600)
	default:
		return fmt.Sprintf("%.0f days", seconds/86400)
	}
}

func nextStep(f *leak.Finding) string {
	if f.State == leak.StateAtRisk {
		return "look which site climbs (memguard.process.descriptor.count by memguard.leak.site); if this is a start or a known load, wait; else raise the limit or restart in time."
	}
	switch f.Kind {
	case leak.KindSocket:
		if strings.HasPrefix(f.Site, ":") {
			return "look for a handler of the server on port " + f.Site[1:] + " that returns without closing the connection; sockets in close_wait mean that clients have hung up and the server has not."
		}
		return "look where this program talks to " + f.Site + ": a response body that is not read and closed, or a connection that is not closed when the peer hangs up."
	case leak.KindFile:
		return "look for files opened under " + orUnknown(f.Site) + " whose Close is not reached on every path."
	case leak.KindInotify:
		return "look for watches that are added and never removed; they count against fs.inotify.max_user_watches of the user."
	case leak.KindMemory:
		return "take two heap profiles an hour apart and compare them; a cache without a bound is the usual cause."
	case leak.KindGoroutine:
		return "take a goroutine profile and look for the group that grows: a channel nobody reads or writes, a context nobody cancels."
	case leak.KindThread:
		return "look for threads started and never joined, or blocking calls that hold one each."
	case leak.KindTimer:
		return "look for tickers and timers that are never stopped."
	default:
		return "look where this program opens " + plural(f.Kind) + " and compare with where it closes them."
	}
}

func orUnknown(site string) string {
	if site == "" {
		return "this process"
	}
	return site
}
