// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/consumer/consumertest"

	"github.com/otel-memguard/memguard/internal/leak"
)

func abandoned(i int, v float64) *batch {
	return newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10).sum(leak.MetricSocketAbandoned, v, leak.AttrSite, "10.0.0.1:80")
}

// A client that sends the very attributes of a local process over OTLP gets
// its finding into the stream, and that is all.
func TestForgedStreamIsNeverProposed(t *testing.T) {
	t.Parallel()
	fix := &fakeRemediator{}
	r := newRig(t, fakeHost{remediatorID: fix}, func(c *Config) { c.Remediation = &remediatorID })
	for i := range 10 {
		r.consume(abandoned(i, 100).md)
	}
	require.NotEmpty(t, r.findings())
	assert.Empty(t, fix.proposals())

	// Our own receiver reports the same process as healthy: not poisoned.
	for i := range 10 {
		require.NoError(t, r.processor.ConsumeMetrics(asLocal(r.ctx), abandoned(i, 0).md))
	}
	assert.Empty(t, r.findings())
	assert.Empty(t, fix.proposals())
}

// The mark covers the host that it names, not whatever comes with it.
func TestMarkOfAnotherHostIsNoTrust(t *testing.T) {
	t.Parallel()
	fix := &fakeRemediator{}
	r := newRig(t, fakeHost{remediatorID: fix}, func(c *Config) { c.Remediation = &remediatorID })
	r.ctx = leak.ContextWithProvenance(r.ctx, &leak.Provenance{HostID: "host-2", BootID: "boot-1"})
	for i := range 10 {
		r.consume(abandoned(i, 100).md)
	}
	assert.Empty(t, fix.proposals())
}

func TestProposesEveryBatchAndTheEnd(t *testing.T) {
	t.Parallel()
	fix := &fakeRemediator{}
	r := newRig(t, fakeHost{remediatorID: fix}, func(c *Config) { c.Remediation, c.Proof.Hold = &remediatorID, 0 })
	r.ctx = asLocal(r.ctx)
	for i, v := range []float64{5, 5, 5, 6, 7, 0, 0, 0, 0} {
		r.consume(abandoned(i, v).md)
	}
	var states []leak.State
	for _, f := range fix.proposals() {
		states = append(states, f.State)
	}
	c := leak.StateConfirmed
	assert.Equal(t, []leak.State{c, c, c, c, c, leak.StateResolved}, states)

	fix.mu.Lock()
	fix.full = true
	fix.mu.Unlock()
	for i := range 3 {
		r.consume(abandoned(10+i, 9).md)
	}
	m, err := r.telemetry.GetMetric("otelcol_leak_detect_proposals_refused")
	require.NoError(t, err)
	assert.NotNil(t, m)
}

func TestStartNamesTheBadExtension(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		host   fakeHost
		change func(*Config)
		want   []string
	}{
		"absent remediator": {fakeHost{}, func(c *Config) { c.Remediation = &remediatorID }, []string{"remediation", `"auto_fix"`, "not in service::extensions"}},
		"other type":        {fakeHost{remediatorID: &memoryStorage{}}, func(c *Config) { c.Remediation = &remediatorID }, []string{"remediation", `"auto_fix"`, "cannot repair"}},
		"absent storage":    {fakeHost{}, func(c *Config) { c.Storage = &storageID }, []string{"storage", `"file_storage"`, "not in service::extensions"}},
		"no storage":        {fakeHost{storageID: &fakeRemediator{}}, func(c *Config) { c.Storage = &storageID }, []string{"storage", `"file_storage"`, "not a storage"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &rig{t: t, factory: NewFactory(), telemetry: componenttest.NewTelemetry()}
			cfg := r.factory.CreateDefaultConfig().(*Config)
			c.change(cfg)
			p := r.create(cfg, consumertest.NewNop())
			err := p.Start(t.Context(), c.host)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
			require.NoError(t, p.Shutdown(t.Context()))
		})
	}
}

var _ component.Host = fakeHost{}
