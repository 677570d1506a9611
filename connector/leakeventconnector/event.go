// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakeventconnector

import (
	"encoding/hex"
	"hash/fnv"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-memguard/memguard/internal/leak"
)

func (c *eventConnector) record(f *leak.Finding, lr plog.LogRecord) {
	name := leak.EventPrefixLeak + string(f.State)
	lr.SetEventName(name)
	lr.SetTimestamp(pcommon.NewTimestampFromTime(f.Since))
	lr.SetObservedTimestamp(pcommon.NewTimestampFromTime(c.now()))
	lr.SetSeverityNumber(severity(f))
	lr.Body().SetStr(body(f))

	attrs := lr.Attributes()
	attrs.EnsureCapacity(16)
	if c.cfg.EventNameAttribute != "" {
		attrs.PutStr(c.cfg.EventNameAttribute, name)
	}
	attrs.PutStr(leak.AttrEventID, eventID(f))
	attrs.PutStr(leak.AttrLeakID, f.ID)
	attrs.PutStr(leak.AttrObjectKind, string(f.Kind))
	attrs.PutStr(leak.AttrLeakSource, f.Source)
	attrs.PutStr(leak.AttrLeakBasis, string(f.Basis))
	attrs.PutStr(leak.AttrLeakRole, string(f.Role))
	attrs.PutStr(leak.AttrLeakState, string(f.State))
	putText(attrs, leak.AttrEvidencePrevious, string(f.Previous))
	putText(attrs, leak.AttrEvidenceReason, f.Reason)
	putText(attrs, leak.AttrEvidenceLimitScope, f.LimitScope)
	if !f.Onset.IsZero() {
		attrs.PutStr(leak.AttrEvidenceOnset, f.Onset.UTC().Format(time.RFC3339))
	}
	putNumber(attrs, leak.MetricEvidence, f.Evidence)
	if f.Kind.Bytes() {
		putNumber(attrs, leak.MetricGrowthBytes, f.Growth)
	} else {
		putNumber(attrs, leak.MetricGrowthObjects, f.Growth)
	}
	putNumber(attrs, leak.MetricTimeToExhaustion, f.TimeToExhaustion)
	putNumber(attrs, leak.AttrEvidenceValue, f.Value)
	putNumber(attrs, leak.AttrEvidenceLimit, f.Limit)
	if f.TimeScale != 1 {
		attrs.PutDouble(leak.AttrLeakTimeScale, f.TimeScale)
	}
	putSite(attrs, f)
}

// putSite spells the site out in the names of the conventions.
func putSite(attrs pcommon.Map, f *leak.Finding) {
	if f.Site == "" {
		return
	}
	attrs.PutStr(leak.AttrSite, f.Site)
	switch {
	case f.Kind == leak.KindSocket:
		if peer, err := netip.ParseAddrPort(f.Site); err == nil {
			attrs.PutStr("network.peer.address", peer.Addr().String())
			attrs.PutInt("network.peer.port", int64(peer.Port()))
		} else if port, err := strconv.ParseUint(strings.TrimPrefix(f.Site, ":"), 10, 16); err == nil {
			attrs.PutInt("network.local.port", int64(port))
		}
	case f.Kind == leak.KindFile && strings.HasPrefix(f.Site, "/"):
		attrs.PutStr("file.directory", f.Site)
	}
}

// eventID is the same for every sight of one transition, whoever saw it.
func eventID(f *leak.Finding) string {
	h := fnv.New128a()
	h.Write([]byte(f.ID + "\x00" + string(f.State) + "\x00" + strconv.FormatInt(f.Since.UnixNano(), 10)))
	return hex.EncodeToString(h.Sum(nil))
}

// severity of a confirmed leak follows the time that is left.
func severity(f *leak.Finding) plog.SeverityNumber {
	switch f.State {
	case leak.StateResolved, leak.StateRetracted, leak.StateSuspected:
		return plog.SeverityNumberInfo
	case leak.StateConfirmed:
		left := f.TimeToExhaustion
		switch {
		case math.IsNaN(left) || left > (24*time.Hour).Seconds():
			return plog.SeverityNumberWarn
		case left > time.Hour.Seconds():
			return plog.SeverityNumberError
		default:
			return plog.SeverityNumberFatal
		}
	default:
		return plog.SeverityNumberWarn
	}
}

func putText(attrs pcommon.Map, key, value string) {
	if value != "" {
		attrs.PutStr(key, value)
	}
}

func putNumber(attrs pcommon.Map, key string, value float64) {
	if !math.IsNaN(value) {
		attrs.PutDouble(key, value)
	}
}
