// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

// Attribute keys that semantic conventions lack. Those of the conventions
// (process.*, network.*, code.*) are spelled here too, so that a component
// needs one import for the names it writes.
const (
	AttrHostID                = "host.id"
	AttrBootID                = "memguard.boot.id"
	AttrServiceInstanceID     = "service.instance.id"
	AttrServiceName           = "service.name"
	AttrProcessPID            = "process.pid"
	AttrProcessParentPID      = "process.parent_pid"
	AttrProcessCreationTime   = "process.creation.time"
	AttrProcessExecutableName = "process.executable.name"
	AttrProcessExecutablePath = "process.executable.path"
	AttrProcessOwner          = "process.owner"
	AttrProcessCommandLine    = "process.command_line"
	AttrProcessLinuxCgroup    = "process.linux.cgroup"
	AttrContainerID           = "container.id"
	AttrK8sPodUID             = "k8s.pod.uid"

	AttrObjectKind      = "memguard.object.kind"
	AttrSite            = "memguard.leak.site"
	AttrTransport       = "network.transport"
	AttrConnectionState = "network.connection.state"

	AttrLeakID        = "memguard.leak.id"
	AttrLeakSource    = "memguard.leak.source"
	AttrLeakBasis     = "memguard.leak.basis"
	AttrLeakRole      = "memguard.leak.role"
	AttrLeakState     = "memguard.leak.state"
	AttrLeakTimeScale = "memguard.leak.time_scale"

	// Evidence: it changes, so it travels as filtered attributes of an
	// exemplar on the status point, never as a point attribute.
	AttrEvidenceOutcome     = "memguard.leak.outcome"
	AttrEvidencePrevious    = "memguard.leak.previous_state"
	AttrEvidenceReason      = "memguard.leak.reason"
	AttrEvidenceOnset       = "memguard.leak.onset"
	AttrEvidenceValue       = "memguard.leak.value"
	AttrEvidenceLimit       = "memguard.leak.limit"
	AttrEvidenceLimitScope  = "memguard.leak.limit_scope"
	AttrEvidenceLifetimeP99 = "memguard.leak.lifetime_p99"

	AttrEventID           = "memguard.event.id"
	AttrGuard             = "memguard.remediation.guard"
	AttrRemediationAction = "memguard.remediation.action"
	AttrRemediationMode   = "memguard.remediation.mode"
	AttrRemediationID     = "memguard.remediation.id"
	AttrRemediationReason = "memguard.remediation.reason"
)

// Metrics of the receiver that other components know by name.
const (
	MetricDescriptorCount    = "process.unix.file_descriptor.count"
	MetricDescriptorLimit    = "memguard.process.file_descriptor.limit"
	MetricDescriptorBySite   = "memguard.process.descriptor.count"
	MetricDescriptorIdle     = "memguard.process.descriptor.idle.count"
	MetricSocketCount        = "memguard.process.socket.count"
	MetricSocketAbandoned    = "memguard.process.socket.abandoned.count"
	MetricObjectLifetime     = "memguard.object.lifetime"
	MetricObjectAge          = "memguard.object.age"
	MetricWatchCount         = "memguard.process.watch.count"
	MetricMemoryUsage        = "process.memory.usage"
	MetricMemoryVirtual      = "process.memory.virtual"
	MetricMemoryAnonymous    = "memguard.process.memory.anonymous"
	MetricThreadCount        = "process.thread.count"
	MetricCPUTime            = "process.cpu.time"
	MetricUptime             = "process.uptime"
	MetricGoroutineCount     = "go.goroutine.count"
	MetricHeapLive           = "memguard.go.heap.live"
	MetricTimerCount         = "memguard.go.timer.count"
	MetricGoroutineBlocked   = "memguard.go.goroutine.blocked.count"
	MetricGoroutineLeaked    = "memguard.go.goroutine.unreachable.count"
	MetricStatus             = "memguard.leak.status"
	MetricEvidence           = "memguard.leak.evidence"
	MetricGrowthObjects      = "memguard.leak.growth.objects"
	MetricGrowthBytes        = "memguard.leak.growth.bytes"
	MetricTimeToExhaustion   = "memguard.leak.time_to_exhaustion"
	ScopeReceiver            = "github.com/otel-memguard/memguard/receiver/memguardreceiver"
	ScopeDetector            = "github.com/otel-memguard/memguard/processor/leakdetectprocessor"
	EventPrefixLeak          = "memguard.leak."
	EventPrefixRemediation   = "memguard.remediation."
	EventRemediationProposed = "memguard.remediation.proposed"
	EventRemediationApproved = "memguard.remediation.approved"
	EventRemediationRefused  = "memguard.remediation.refused"
	EventRemediationApplied  = "memguard.remediation.applied"
	EventRemediationVerified = "memguard.remediation.verified"
	EventRemediationFailed   = "memguard.remediation.failed"
	EventRemediationReverted = "memguard.remediation.reverted"
	EventLeakConfirmed       = "memguard.leak.confirmed"
	EventLeakResolved        = "memguard.leak.resolved"
	EventLeakRetracted       = "memguard.leak.retracted"
)
