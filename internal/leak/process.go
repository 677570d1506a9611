// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"encoding/binary"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Identity is what makes two sightings of a process the same process. The pid
// alone never does: pids are reused, and exec puts another program behind one.
type Identity struct {
	HostID     string // host.id
	BootID     string // /proc/sys/kernel/random/boot_id
	PID        int32  // in our own pid space
	StartTicks uint64 // field 22 of /proc/PID/stat, clock ticks since boot
	ExeDev     uint64 // device of /proc/PID/exe, 0 where unreadable
	ExeIno     uint64 // inode of /proc/PID/exe, 0 where unreadable
}

// namespaceInstance is the UUIDv5 name space of service.instance.id values
// made by this module. It is fixed for ever: changing it renames every series.
var namespaceInstance = uuid.MustParse("5b0e8a7c-7c5e-4c0e-9a56-2f6f0c1d9d11")

// InstanceID returns service.instance.id: the UUIDv5 of the identity.
func (id *Identity) InstanceID() string {
	buf := make([]byte, 0, len(id.HostID)+len(id.BootID)+2+4+8+8+8)
	buf = append(buf, id.HostID...)
	buf = append(buf, 0)
	buf = append(buf, id.BootID...)
	buf = append(buf, 0)
	buf = binary.BigEndian.AppendUint32(buf, uint32(id.PID))
	buf = binary.BigEndian.AppendUint64(buf, id.StartTicks)
	buf = binary.BigEndian.AppendUint64(buf, id.ExeDev)
	buf = binary.BigEndian.AppendUint64(buf, id.ExeIno)
	return uuid.NewSHA1(namespaceInstance, buf).String()
}

// Process is the process entity as far as a finding carries it.
type Process struct {
	HostID         string
	BootID         string
	InstanceID     string // Identity.InstanceID: proves host, boot, pid, start and program at once
	PID            int32
	CreationTime   time.Time
	ExecutableName string
	ExecutablePath string
	Owner          string
	Cgroup         string
	ServiceName    string
}

// ProcessFromResource reads the process entity from a resource. It reports
// false where the resource does not identify one process of one host: then
// the series may be judged, but nothing may ever act on it.
func ProcessFromResource(attrs pcommon.Map) (Process, bool) {
	str := func(key string) string {
		if v, ok := attrs.Get(key); ok && v.Type() == pcommon.ValueTypeStr {
			return v.Str()
		}
		return ""
	}
	p := Process{
		HostID:         str(AttrHostID),
		BootID:         str(AttrBootID),
		InstanceID:     str(AttrServiceInstanceID),
		ExecutableName: str(AttrProcessExecutableName),
		ExecutablePath: str(AttrProcessExecutablePath),
		Owner:          str(AttrProcessOwner),
		Cgroup:         str(AttrProcessLinuxCgroup),
		ServiceName:    str(AttrServiceName),
	}
	if v, ok := attrs.Get(AttrProcessPID); ok && v.Type() == pcommon.ValueTypeInt && v.Int() > 0 && v.Int() < 1<<31 {
		p.PID = int32(v.Int())
	}
	if t, err := time.Parse(time.RFC3339Nano, str(AttrProcessCreationTime)); err == nil {
		p.CreationTime = t
	}
	complete := p.HostID != "" && p.BootID != "" && p.InstanceID != "" && p.PID > 0 && !p.CreationTime.IsZero()
	return p, complete
}
