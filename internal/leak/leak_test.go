// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 11, 23, 3, 0, 0, 0, time.UTC)

func confirmed() Finding {
	f := NewFinding()
	f.ID, f.Kind, f.Site, f.Source = "f1", KindSocket, "10.0.0.5:80", MetricDescriptorBySite
	f.Basis, f.Role, f.State, f.Previous = BasisSurvival, RolePrimary, StateConfirmed, StateLikely
	f.Since, f.Time, f.Onset = at, at, at.Add(-time.Hour)
	f.Evidence, f.Growth, f.TimeToExhaustion, f.Value, f.Limit = 7.5, 0.25, 900, 100, 1024
	f.LimitScope, f.LifetimeP99, f.Reason, f.TimeScale = "process", 1.5, "nothing closes any more", 60
	return f
}

func written(fs ...Finding) pmetric.ResourceMetrics {
	rm := pmetric.NewMetrics().ResourceMetrics().AppendEmpty()
	AppendFindings(rm.ScopeMetrics().AppendEmpty().Metrics(), fs)
	return rm
}

func TestFindingSurvivesPdata(t *testing.T) {
	t.Parallel()
	memory := confirmed()
	memory.ID, memory.Kind, memory.Site, memory.State, memory.Previous = "f2", KindMemory, "", StateSuspected, StateClear
	memory.Time = at.Add(time.Minute)
	memory.TimeScale = 1
	rm := written(confirmed(), memory)
	got, malformed := ReadFindings(rm)
	assert.Zero(t, malformed)
	require.Len(t, got, 2)
	assert.Equal(t, confirmed(), got[0])
	assert.Equal(t, memory, got[1])

	names := map[string]int{}
	metrics := rm.ScopeMetrics().At(0).Metrics()
	for i := range metrics.Len() {
		names[metrics.At(i).Name()]++
	}
	assert.Equal(t, map[string]int{MetricStatus: 1, MetricEvidence: 1, MetricGrowthObjects: 1, MetricGrowthBytes: 1, MetricTimeToExhaustion: 1}, names)
}

func TestTransitionClosesTheStateBefore(t *testing.T) {
	t.Parallel()
	points := written(confirmed()).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints()
	require.Equal(t, 2, points.Len())
	assert.Equal(t, int64(0), points.At(0).IntValue())
	assert.Equal(t, "likely", text(points.At(0).Attributes(), AttrLeakState))
	assert.Equal(t, int64(1), points.At(1).IntValue())

	later := confirmed()
	later.Time = at.Add(time.Second)
	assert.Equal(t, 1, written(later).ScopeMetrics().At(0).Metrics().At(0).Sum().DataPoints().Len())
}

func TestEndsAreReadBack(t *testing.T) {
	t.Parallel()
	for _, end := range []State{StateResolved, StateRetracted} {
		f := confirmed()
		f.State, f.Previous = end, StateConfirmed
		rm := written(f)
		got, malformed := ReadFindings(rm)
		assert.Zero(t, malformed)
		require.Len(t, got, 1)
		assert.Equal(t, end, got[0].State)
		assert.Equal(t, StateConfirmed, got[0].Previous)
		assert.True(t, math.IsNaN(got[0].Growth), "gauges of an ended finding hold no value")
		evidence := rm.ScopeMetrics().At(0).Metrics().At(1).Gauge().DataPoints().At(0)
		assert.True(t, evidence.Flags().NoRecordedValue())
	}
}

func TestClearFindingWritesNothing(t *testing.T) {
	t.Parallel()
	assert.Zero(t, written(NewFinding()).ScopeMetrics().At(0).Metrics().Len())
}

func TestHostilePointsAreCountedNotTrusted(t *testing.T) {
	t.Parallel()
	rm := pmetric.NewMetrics().ResourceMetrics().AppendEmpty()
	ms := rm.ScopeMetrics().AppendEmpty().Metrics()
	m := ms.AppendEmpty()
	m.SetName(MetricStatus)
	points := m.SetEmptySum().DataPoints()
	points.AppendEmpty().SetIntValue(1) // no attributes at all
	unknown := points.AppendEmpty()
	unknown.SetIntValue(1)
	unknown.Attributes().PutStr(AttrLeakID, "x")
	unknown.Attributes().PutStr(AttrLeakState, "exploded")
	odd := points.AppendEmpty()
	odd.SetDoubleValue(1)
	odd.Attributes().PutStr(AttrLeakID, "y")
	odd.Attributes().PutStr(AttrLeakState, string(StateLikely))
	odd.Attributes().PutStr(AttrLeakTimeScale, "not a number")
	gauge := ms.AppendEmpty()
	gauge.SetName(MetricStatus)
	gauge.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)

	got, malformed := ReadFindings(rm)
	assert.Equal(t, 2, malformed)
	require.Len(t, got, 1)
	assert.Equal(t, StateLikely, got[0].State)
	assert.Equal(t, 1.0, got[0].TimeScale)
}

func TestProvenanceTravelsInTheContextOnly(t *testing.T) {
	t.Parallel()
	assert.Nil(t, ProvenanceFromContext(t.Context()))
	p := &Provenance{HostID: "h", BootID: "b", Receiver: "memguard"}
	assert.Same(t, p, ProvenanceFromContext(ContextWithProvenance(t.Context(), p)))
}

func TestInstanceIDTellsLivesApart(t *testing.T) {
	t.Parallel()
	base := Identity{HostID: "h", BootID: "b", PID: 42, StartTicks: 7, ExeDev: 1, ExeIno: 2}
	again := base
	assert.Equal(t, base.InstanceID(), again.InstanceID())
	for name, other := range map[string]Identity{
		"host":           {HostID: "i", BootID: "b", PID: 42, StartTicks: 7, ExeDev: 1, ExeIno: 2},
		"boot":           {HostID: "h", BootID: "c", PID: 42, StartTicks: 7, ExeDev: 1, ExeIno: 2},
		"ids run on":     {HostID: "hb", BootID: "", PID: 42, StartTicks: 7, ExeDev: 1, ExeIno: 2},
		"pid":            {HostID: "h", BootID: "b", PID: 43, StartTicks: 7, ExeDev: 1, ExeIno: 2},
		"start":          {HostID: "h", BootID: "b", PID: 42, StartTicks: 8, ExeDev: 1, ExeIno: 2},
		"exec, inode":    {HostID: "h", BootID: "b", PID: 42, StartTicks: 7, ExeDev: 1, ExeIno: 3},
		"exec, other fs": {HostID: "h", BootID: "b", PID: 42, StartTicks: 7, ExeDev: 3, ExeIno: 2},
	} {
		assert.NotEqual(t, base.InstanceID(), other.InstanceID(), name)
	}
}

func TestProcessFromResource(t *testing.T) {
	t.Parallel()
	attrs := pmetric.NewMetrics().ResourceMetrics().AppendEmpty().Resource().Attributes()
	_, complete := ProcessFromResource(attrs)
	assert.False(t, complete)
	attrs.PutStr(AttrHostID, "h")
	attrs.PutStr(AttrBootID, "b")
	attrs.PutStr(AttrServiceInstanceID, "i")
	attrs.PutStr(AttrProcessCreationTime, at.Format(time.RFC3339Nano))
	attrs.PutInt(AttrProcessPID, 1<<40)
	_, complete = ProcessFromResource(attrs)
	assert.False(t, complete, "a pid out of range identifies nothing")
	attrs.PutInt(AttrProcessPID, 42)
	p, complete := ProcessFromResource(attrs)
	assert.True(t, complete)
	assert.Equal(t, int32(42), p.PID)
	assert.True(t, at.Equal(p.CreationTime))
}

func TestSocketSite(t *testing.T) {
	t.Parallel()
	ap := netip.MustParseAddrPort
	listening := func(port uint16) bool { return port == 8080 }
	assert.Equal(t, ":8080", SocketSite(ap("127.0.0.1:8080"), ap("127.0.0.1:40000"), listening))
	assert.Equal(t, "127.0.0.1:9000", SocketSite(ap("127.0.0.1:40000"), ap("127.0.0.1:9000"), listening))
	assert.Equal(t, "127.0.0.1:9000", SocketSite(ap("[::ffff:127.0.0.1]:40000"), ap("[::ffff:127.0.0.1]:9000"), listening), "one site for both spellings")
	assert.Equal(t, ":40000", SocketSite(ap("0.0.0.0:40000"), netip.AddrPort{}, listening))
}

func FuzzCleanSite(f *testing.F) {
	f.Add("/var/lib/app/data.db")
	f.Add("\x1b[31mred\n")
	f.Add("\xff\xfe" + strings.Repeat("é", 200))
	f.Fuzz(func(t *testing.T, s string) {
		got := CleanSite(s)
		assert.LessOrEqual(t, len(got), max(MaxSiteLength, 0))
		assert.True(t, utf8.ValidString(got))
		assert.NotContains(t, got, "\n")
		assert.Equal(t, got, CleanSite(got))
	})
}

func TestLongSitesStayApart(t *testing.T) {
	t.Parallel()
	head, tail := strings.Repeat("a", 100), strings.Repeat("z", 100)
	one, other := CleanSite(head+"1"+tail), CleanSite(head+"2"+tail)
	assert.NotEqual(t, one, other)
	assert.True(t, strings.HasPrefix(one, "aaaa"))
	assert.True(t, strings.HasSuffix(one, "zzzz"))
}

func TestKinds(t *testing.T) {
	t.Parallel()
	for _, k := range Kinds() {
		assert.True(t, k.Valid())
	}
	assert.False(t, Kind("banana").Valid())
	assert.True(t, KindInotify.Descriptor())
	assert.False(t, KindThread.Descriptor())
	assert.True(t, KindMemory.Bytes())
}
