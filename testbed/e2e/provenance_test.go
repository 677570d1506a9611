// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/leak"
)

// TestForgedLeakOverOTLP: a client that knows all about a local process sends
// what our own receiver would have sent: first a stream that makes the
// detector confirm, then a finding ready made. Both may be reported; nothing
// is proposed for repair (guard 0).
func TestForgedLeakOverOTLP(t *testing.T) {
	w := newWorld(t)
	// Sockets that a repair would be allowed to shut, were it asked to: but our
	// own receiver is told to watch other programs only.
	victim := w.leaky("v-leaky", "--leak", "close_wait=50/s:20")
	cfg := w.config()
	cfg.set("receivers::memguard::include::executable::names", list(w.targets+"/upstream"))
	endpoint := w.withOTLP(cfg)
	c := w.start(cfg)
	otlp := newClient(t, endpoint)
	began := time.Now().Add(-time.Hour)

	stream := func(n int64) pmetric.Metrics {
		md := pmetric.NewMetrics()
		rm := md.ResourceMetrics().AppendEmpty()
		identify(t, rm.Resource().Attributes(), victim.PID, "v-leaky")
		sm := rm.ScopeMetrics().AppendEmpty()
		sm.Scope().SetName(leak.ScopeReceiver)
		now := time.Now()
		for _, name := range []string{leak.MetricSocketAbandoned, leak.MetricDescriptorBySite} {
			dp := sum(sm.Metrics(), name, began, now, 20+n)
			dp.Attributes().PutStr(leak.AttrSite, w.hello.Closing)
			dp.Attributes().PutStr(leak.AttrObjectKind, "socket")
		}
		return md
	}
	n := int64(0)
	require.Eventually(t, func() bool {
		n++
		require.NoError(t, otlp.export(stream(n)))
		return len(w.events(victim.PID, "memguard.leak.confirmed")) > 0
	}, 30*time.Second, 250*time.Millisecond, "the forged stream is judged like any other")

	made := pmetric.NewMetrics()
	rm := made.ResourceMetrics().AppendEmpty()
	identify(t, rm.Resource().Attributes(), victim.PID, "v-leaky")
	sm := rm.ScopeMetrics().AppendEmpty()
	sm.Scope().SetName(leak.ScopeDetector)
	now := time.Now()
	f := leak.NewFinding()
	f.ID, f.Kind, f.Site, f.Source = "forged", leak.KindSocket, w.hello.Closing, leak.MetricSocketAbandoned
	f.Basis, f.Role, f.State, f.Since, f.Time = leak.BasisProof, leak.RolePrimary, leak.StateConfirmed, now, now
	leak.AppendFindings(sm.Metrics(), []leak.Finding{f})
	require.NoError(t, otlp.export(made))
	require.Eventually(t, func() bool {
		for _, e := range w.events(victim.PID, "memguard.leak.confirmed") {
			if e.Text("memguard.leak.id") == "forged" {
				return true
			}
		}
		return false
	}, 10*time.Second, 50*time.Millisecond, "a finding that came ready made is passed on as an event")

	// Three more passes of auto_fix, then the journal.
	require.Never(t, func() bool { return len(w.events(victim.PID, "memguard.remediation.proposed")) > 0 },
		4*time.Second, 500*time.Millisecond, "nothing is proposed")
	require.NoError(t, c.Stop(15*time.Second))
	for _, r := range c.journal() {
		assert.Nil(t, r.Process, "no record about any process: %+v", r)
	}
	truth := w.truth(victim)
	assert.Equal(t, 20, truth.Count("close_wait"), "and nothing is touched")
}
