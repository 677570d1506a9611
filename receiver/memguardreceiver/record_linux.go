// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/otel-memguard/memguard/internal/hostproc"
	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

// metrics builds one resource per process.
func (s *processScraper) metrics(processes []*hostproc.Process, now time.Time) pmetric.Metrics {
	out := pmetric.NewMetrics()
	out.ResourceMetrics().EnsureCapacity(len(processes))
	ts := pcommon.NewTimestampFromTime(now)
	for _, p := range processes {
		start := pcommon.NewTimestampFromTime(p.Created)
		if p.Detail != nil {
			s.mb.Emit().ResourceMetrics().MoveAndAppendTo(out.ResourceMetrics())
			s.recordDetail(p.Detail, ts)
		}
		s.recordProcess(p, ts, now)
		s.mb.EmitForResource(metadata.WithResource(s.resource(p)), metadata.WithStartTimeOverride(start))
		if p.Detail != nil {
			s.emitDetailed(out, p.Detail, ts)
		}
	}
	s.mb.Emit().ResourceMetrics().MoveAndAppendTo(out.ResourceMetrics())
	return out
}

// emitDetailed adds histograms, which the builder cannot make, to the one
// process that the builder holds; none where a filter on resource attributes
// left it out.
func (s *processScraper) emitDetailed(out pmetric.Metrics, d *hostproc.Detail, ts pcommon.Timestamp) {
	one := s.mb.Emit()
	if s.cfg.Detail.Lifetimes && one.ResourceMetrics().Len() == 1 {
		appendHistograms(one.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics(), d, ts)
	}
	one.ResourceMetrics().MoveAndAppendTo(out.ResourceMetrics())
}

func (s *processScraper) resource(p *hostproc.Process) pcommon.Resource {
	rb := s.mb.NewResourceBuilder()
	rb.SetHostID(p.Identity.HostID)
	rb.SetMemguardBootID(p.Identity.BootID)
	rb.SetServiceInstanceID(p.InstanceID)
	rb.SetProcessPid(int64(p.Identity.PID))
	rb.SetProcessCreationTime(p.Created.Format(time.RFC3339Nano))
	f := &p.Facts
	rb.SetProcessExecutableName(f.Name)
	rb.SetProcessOwner(f.Owner)
	rb.SetProcessParentPid(int64(f.Parent))
	for _, known := range [...]struct {
		value string
		set   func(string)
	}{
		{f.Path, rb.SetProcessExecutablePath},
		{f.CommandLine, rb.SetProcessCommandLine},
		{f.Cgroup, rb.SetProcessLinuxCgroup},
		{f.ContainerID, rb.SetContainerID},
		{f.PodUID, rb.SetK8sPodUID},
		{f.Unit, rb.SetServiceName},
	} {
		if known.value != "" {
			known.set(known.value)
		}
	}
	return rb.Emit()
}

func (s *processScraper) recordProcess(p *hostproc.Process, ts pcommon.Timestamp, now time.Time) {
	if p.Descriptors >= 0 {
		s.mb.RecordProcessUnixFileDescriptorCountDataPoint(ts, p.Descriptors)
	}
	if p.DescriptorLimit > 0 && p.DescriptorLimit != hostproc.Unlimited {
		s.mb.RecordMemguardProcessFileDescriptorLimitDataPoint(ts, p.DescriptorLimit)
	}
	s.mb.RecordProcessMemoryUsageDataPoint(ts, p.Resident)
	s.mb.RecordProcessMemoryVirtualDataPoint(ts, p.Virtual)
	s.mb.RecordMemguardProcessMemoryAnonymousDataPoint(ts, p.Anonymous)
	s.mb.RecordProcessThreadCountDataPoint(ts, p.Threads)
	s.mb.RecordProcessCPUTimeDataPoint(ts, p.UserTime.Seconds(), metadata.AttributeCPUModeUser)
	s.mb.RecordProcessCPUTimeDataPoint(ts, p.SystemTime.Seconds(), metadata.AttributeCPUModeSystem)
	s.mb.RecordProcessUptimeDataPoint(ts, max(now.Sub(p.Created).Seconds(), 0))
}

var transports = [hostproc.NumTransports]string{"tcp", "udp", "unix"}

func (s *processScraper) recordDetail(d *hostproc.Detail, ts pcommon.Timestamp) {
	for _, site := range d.Sites {
		s.mb.RecordMemguardProcessDescriptorCountDataPoint(ts, site.Count, string(site.Kind), site.Name)
		if site.Kind != leak.KindSocket {
			continue
		}
		for transport, seen := range site.Seen {
			for state := range hostproc.NumStates {
				if seen&(1<<state) != 0 {
					s.mb.RecordMemguardProcessSocketCountDataPoint(ts, site.Sockets[transport][state],
						transports[transport], stateName(uint8(state)), site.Name)
				}
			}
		}
		if site.Seen[hostproc.TransportTCP] != 0 {
			s.mb.RecordMemguardProcessDescriptorIdleCountDataPoint(ts, site.Idle, string(site.Kind), site.Name)
			s.mb.RecordMemguardProcessSocketAbandonedCountDataPoint(ts, site.Abandoned, site.Name)
		}
	}
	s.mb.RecordMemguardProcessWatchCountDataPoint(ts, d.InotifyWatches, string(leak.KindInotify))
	s.mb.RecordMemguardProcessWatchCountDataPoint(ts, d.EpollWatches, string(leak.KindEpoll))
}

func stateName(state uint8) string {
	if state == hostproc.StateUnattached {
		return "unattached"
	}
	return sockdiag.StateName(state)
}
