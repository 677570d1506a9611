// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/plog"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

// auditSource finds the extension that keeps outcomes of remediation.
func auditSource(host component.Host, id component.ID) (leak.AuditSource, error) {
	ext, ok := host.GetExtensions()[id]
	if !ok {
		return nil, fmt.Errorf("audit: no extension %q is configured under service::extensions", id)
	}
	source, ok := ext.(leak.AuditSource)
	if !ok {
		return nil, fmt.Errorf("audit: extension %q keeps no outcomes of remediation: it is of type %q (%T)", id, id.Type(), ext)
	}
	return source, nil
}

// auditLogs writes records as events, one resource each: they are few.
func auditLogs(records []leak.AuditRecord, version string, now time.Time) plog.Logs {
	logs := plog.NewLogs()
	observed := pcommon.NewTimestampFromTime(now)
	for i := range records {
		r := &records[i]
		rl := logs.ResourceLogs().AppendEmpty()
		putProcess(rl.Resource().Attributes(), &r.Process)
		sl := rl.ScopeLogs().AppendEmpty()
		sl.Scope().SetName(metadata.ScopeName)
		sl.Scope().SetVersion(version)
		lr := sl.LogRecords().AppendEmpty()
		lr.SetEventName(r.Event)
		lr.SetTimestamp(pcommon.NewTimestampFromTime(r.Time))
		lr.SetObservedTimestamp(observed)
		lr.SetSeverityNumber(r.Severity)
		if r.Body != "" {
			lr.Body().SetStr(r.Body)
		}
		putAttributes(lr.Attributes(), r.Attributes)
	}
	return logs
}

func putProcess(attrs pcommon.Map, p *leak.Process) {
	for _, known := range [...]struct{ key, value string }{
		{leak.AttrHostID, p.HostID},
		{leak.AttrBootID, p.BootID},
		{leak.AttrServiceInstanceID, p.InstanceID},
		{leak.AttrProcessExecutableName, p.ExecutableName},
		{leak.AttrProcessExecutablePath, p.ExecutablePath},
		{leak.AttrProcessOwner, p.Owner},
		{leak.AttrProcessLinuxCgroup, p.Cgroup},
		{leak.AttrServiceName, p.ServiceName},
	} {
		if known.value != "" {
			attrs.PutStr(known.key, known.value)
		}
	}
	if p.PID > 0 {
		attrs.PutInt(leak.AttrProcessPID, int64(p.PID))
	}
	if !p.CreationTime.IsZero() {
		attrs.PutStr(leak.AttrProcessCreationTime, p.CreationTime.UTC().Format(time.RFC3339Nano))
	}
}

func putAttributes(attrs pcommon.Map, values map[string]any) {
	attrs.EnsureCapacity(len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		switch v := values[key].(type) {
		case string:
			attrs.PutStr(key, v)
		case bool:
			attrs.PutBool(key, v)
		case int64:
			attrs.PutInt(key, v)
		case int:
			attrs.PutInt(key, int64(v))
		case float64:
			attrs.PutDouble(key, v)
		default:
			attrs.PutStr(key, fmt.Sprint(v))
		}
	}
}
