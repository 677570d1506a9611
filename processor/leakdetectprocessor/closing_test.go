// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

// A scrape target climbs to its limit, crashes and is started anew: what was
// at risk is no more, and that is said.
func TestAtRiskEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil, nil)
	start := epoch.Add(-time.Hour)
	send := func(i int, open float64) {
		b := newBatch(epoch.Add(time.Duration(i)*10*time.Second), 10)
		b.rm.Resource().Attributes().Clear()
		put(b.rm.Resource().Attributes(), []string{leak.AttrServiceName, "api", leak.AttrServiceInstanceID, "10.0.0.1:9090"})
		r.consume(b.gauge("process_start_time_seconds", float64(start.Unix())).gauge("process_max_fds", 1024).gauge("process_open_fds", open).md)
	}
	for i := range 60 {
		send(i, 300+float64(i)*10)
	}
	require.Equal(t, []leak.State{leak.StateAtRisk}, transitions(r.findings()))
	start = epoch.Add(600 * time.Second)
	for i := 61; i < 100; i++ {
		send(i, 20)
	}
	all := r.findings()
	require.Len(t, all, 1)
	assert.Equal(t, []leak.State{leak.StateResolved}, transitions(all))
	assert.Contains(t, all[0].Reason, "started anew")
	assert.True(t, all[0].Since.Equal(epoch.Add(610*time.Second)), "%v", all[0].Since)
	for i := 100; i < 160; i++ {
		send(i, 300+float64(i-100)*10)
	}
	assert.Equal(t, []leak.State{leak.StateAtRisk}, transitions(r.findings()), "and the new process is judged like any")
}
