// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/testbed/rig"
)

// client sends metrics over OTLP.
type client struct {
	t    *testing.T
	send pmetricotlp.GRPCClient
}

// withOTLP adds an OTLP receiver to the metrics pipeline.
func (w *world) withOTLP(s settings) (endpoint string) {
	w.t.Helper()
	endpoint, err := rig.FreePort(w.t.Context())
	require.NoError(w.t, err)
	s.set("receivers::otlp::protocols::grpc::endpoint", endpoint)
	s.set("service::pipelines::metrics::receivers", list("memguard", "otlp"))
	return endpoint
}

func newClient(t *testing.T, endpoint string) *client {
	t.Helper()
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return &client{t, pmetricotlp.NewGRPCClient(conn)}
}

func (c *client) export(md pmetric.Metrics) error {
	_, err := c.send.Export(c.t.Context(), pmetricotlp.NewExportRequestFromMetrics(md))
	return err
}

// identify writes the resource that a memguard receiver would write for a
// process: all of it can be read by anybody on the host.
func identify(t *testing.T, attrs pcommon.Map, pid int, name string) {
	t.Helper()
	host, err := procid.HostID("/")
	require.NoError(t, err)
	boot, err := procid.BootID("/proc")
	require.NoError(t, err)
	id, err := procid.Read("/proc", host, boot, int32(pid))
	require.NoError(t, err)
	attrs.PutStr(leak.AttrHostID, host)
	attrs.PutStr(leak.AttrBootID, boot)
	attrs.PutStr(leak.AttrServiceInstanceID, id.InstanceID())
	attrs.PutInt(leak.AttrProcessPID, int64(pid))
	attrs.PutStr(leak.AttrProcessCreationTime, time.Now().Add(-time.Hour).Format(time.RFC3339Nano))
	attrs.PutStr(leak.AttrProcessExecutableName, name)
}

// sum appends an integer sum with one point.
func sum(metrics pmetric.MetricSlice, name string, start, at time.Time, value int64) pmetric.NumberDataPoint {
	m := metrics.AppendEmpty()
	m.SetName(name)
	s := m.SetEmptySum()
	s.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	dp := s.DataPoints().AppendEmpty()
	dp.SetStartTimestamp(pcommon.NewTimestampFromTime(start))
	dp.SetTimestamp(pcommon.NewTimestampFromTime(at))
	dp.SetIntValue(value)
	return dp
}
