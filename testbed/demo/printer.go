// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/otel-memguard/memguard/testbed/load"
	"github.com/otel-memguard/memguard/testbed/rig"
)

// printer writes the account. On a terminal it uses colour and one line that
// is rewritten; elsewhere plain lines only.
type printer struct {
	out      io.Writer
	tty      bool
	began    time.Time
	pending  bool
	repairs  map[string]int // verified so far, by the site they were at
	lastSaid time.Time
	refused  map[string]int
	told     map[string]int // findings, by event name and id
}

func newPrinter(f *os.File) *printer {
	info, err := f.Stat()
	tty := err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &printer{out: f, tty: tty, repairs: map[string]int{}, refused: map[string]int{}, told: map[string]int{}}
}

const (
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
	faint  = "2"
)

func (p *printer) style(code, text string) string {
	if !p.tty {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

// line ends a rewritten line, if there is one, and prints a whole one.
func (p *printer) line(text string) {
	p.flush()
	fmt.Fprintln(p.out, text)
}

func (p *printer) flush() {
	if p.pending {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.pending = false
	}
}

func (p *printer) title(text string) { p.line(p.style(bold, text)) }

func (p *printer) note(format string, args ...any) { p.line("  " + fmt.Sprintf(format, args...)) }

func (p *printer) raw(text string) { p.line(text) }

func (p *printer) clock() string {
	return p.style(faint, fmt.Sprintf("%5.1fs", time.Since(p.began).Seconds()))
}

// progress says once in a while how the server fares.
func (p *printer) progress(t *rig.Truth, s load.Summary) {
	text := fmt.Sprintf("%s %s: %d requests ok, %d failed; leaked sockets %d in close_wait, %d shut",
		p.clock(), leakyName, s.OK, s.Failed, t.Count("close_wait"), t.Count("close"))
	if p.tty {
		p.flush()
		fmt.Fprint(p.out, text)
		p.pending = true
		return
	}
	if time.Since(p.lastSaid) >= 10*time.Second {
		p.line(text)
		p.lastSaid = time.Now()
	}
}

// event prints one event: findings in full, repairs in full at first and then
// in growing steps.
func (p *printer) event(e *rig.Event) {
	switch {
	case strings.HasPrefix(e.Name, prefixLeak):
		p.finding(e)
	case strings.HasPrefix(e.Name, prefixRepair):
		p.repair(e)
	default:
		p.line(p.clock() + " " + e.Name + " " + e.Body)
	}
}

func (p *printer) finding(e *rig.Event) {
	colour := yellow
	switch e.Name {
	case nameConfirm:
		colour = red
	case prefixLeak + "resolved", prefixLeak + "retracted":
		colour = green
	}
	id := e.Name + e.Text("memguard.leak.id")
	if p.told[id]++; p.told[id] > 1 {
		p.line(fmt.Sprintf("%s %s  again (no. %d), site %s", p.clock(), p.style(colour, e.Name), p.told[id], e.Text("memguard.leak.site")))
		return
	}
	p.line(p.clock() + " " + p.style(colour, e.Name) + "  " + e.Body)
	var figures []string
	for _, f := range []struct{ label, key string }{
		{"kind", "memguard.object.kind"},
		{"site", "memguard.leak.site"},
		{"basis", "memguard.leak.basis"},
		{"rate/s", "memguard.leak.growth.objects"},
		{"time to exhaustion, s", "memguard.leak.time_to_exhaustion"},
	} {
		if v, ok := e.Attrs[f.key]; ok {
			if number, isNumber := v.(float64); isNumber {
				v = fmt.Sprintf("%.3g", number)
			}
			figures = append(figures, fmt.Sprintf("%s %v", f.label, v))
		}
	}
	p.line("         " + p.style(faint, strings.Join(figures, " · ")))
}

func (p *printer) repair(e *rig.Event) {
	site := e.Text("memguard.leak.site")
	switch e.Name {
	case nameVerified:
		p.repairs[site]++
		if n := p.repairs[site]; n <= 2 || n&(n-1) == 0 {
			p.line(fmt.Sprintf("%s %s  no. %d: %s", p.clock(), p.style(green, e.Name), n, e.Body))
		}
	case prefixRepair + "refused":
		guard := e.Text("memguard.remediation.guard")
		p.refused[guard]++
		if n := p.refused[guard]; n <= 2 || n&(n-1) == 0 {
			p.line(fmt.Sprintf("%s %s  (%s, no. %d) %s", p.clock(), p.style(yellow, e.Name), guard, n, e.Body))
		}
	case prefixRepair + "failed", prefixRepair + "reverted":
		p.line(p.clock() + " " + p.style(red, e.Name) + "  " + e.Body)
	default: // proposed, applied: shown for the first, the canary
		p.refused[e.Name]++
		if p.refused[e.Name] <= 1 {
			p.line(p.clock() + " " + e.Name + "  " + e.Body)
		}
	}
}

// table sums up.
func (p *printer) table(e *evidence) {
	p.line("")
	w := tabwriter.NewWriter(p.out, 2, 8, 2, ' ', 0)
	row := func(label string, cell func(*serverEvidence) string) {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", label, cell(&e.servers[0]), cell(&e.servers[1]))
	}
	row(fmt.Sprintf("after %.0f s", e.took.Seconds()), func(s *serverEvidence) string { return s.name })
	row("requests ok", func(s *serverEvidence) string { return strconv.FormatInt(s.load.OK, 10) })
	row("requests failed / connections reset", func(s *serverEvidence) string {
		return fmt.Sprintf("%d / %d", s.load.Failed, s.load.Resets())
	})
	row("latency p50 / p99, ms", func(s *serverEvidence) string {
		return fmt.Sprintf("%.1f / %.1f", s.load.P50Millis, s.load.P99Millis)
	})
	row("sockets leaked", func(s *serverEvidence) string { return strconv.Itoa(len(s.truth.Leaked)) })
	row("  of them shut (kernel and owner agree)", func(s *serverEvidence) string { return strconv.Itoa(s.shut) })
	row("  still in close_wait", func(s *serverEvidence) string { return strconv.Itoa(s.truth.Count("close_wait")) })
	row("findings / repairs verified, as reported", func(s *serverEvidence) string {
		n := 0
		for i := range e.events {
			if ofProcess(&e.events[i], s.pid) && strings.HasPrefix(e.events[i].Name, prefixLeak) {
				n++
			}
		}
		return fmt.Sprintf("%d / %d", n, count(e.events, s.pid, nameVerified))
	})
	w.Flush() //nolint:errcheck // standard output
	p.note("%s", p.style(faint, "A shut socket frees the connection. Its descriptor falls when the owner closes it: only the fix in the code does that."))
}

// verdict prints every condition and reports whether all hold.
func (p *printer) verdict(checks []check) bool {
	p.line("")
	all := true
	for _, c := range checks {
		mark := p.style(green, "ok  ")
		if !c.ok {
			mark, all = p.style(red, "FAIL"), false
		}
		p.line(fmt.Sprintf("  %s %s (%s)", mark, c.what, strings.TrimSpace(c.seen)))
	}
	return all
}
