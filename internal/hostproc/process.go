// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// Process is one life of one process as of the newest scan. It is valid until
// the next.
type Process struct {
	Identity   leak.Identity
	InstanceID string
	Created    time.Time
	Facts      Facts
	// Version changes whenever Facts do.
	Version uint32

	Descriptors int64 // -1 where unknown
	// DescriptorLimit is the soft limit of open files, Unlimited where there is
	// none, 0 where unknown.
	DescriptorLimit int64
	Threads         int64
	UserTime        time.Duration // of all threads, also ended ones
	SystemTime      time.Duration
	Resident        int64 // bytes
	Virtual         int64 // bytes
	// Anonymous is resident memory in bytes that is neither of a file nor
	// shmem: resident − shared of statm, which is RssAnon of status at a tenth
	// of its cost (fs/proc/task_mmu.c, task_statm).
	Anonymous int64

	// Detail is set in the scans in which the descriptors were read and the
	// process is suspected or was asked for.
	Detail *Detail
}

// Facts are what does not change in a life, or hardly ever.
type Facts struct {
	Name        string // base name of the program, or the command name where unreadable
	Path        string // of the program, "" where unreadable
	CommandLine string // only where asked for
	Owner       string // user name, or the number where it has none
	UID         uint32
	Parent      int32
	Cgroup      string
	ContainerID string
	PodUID      string
	Unit        string // systemd service, without ".service"
}

// Detail is what a process holds, by kind and site.
type Detail struct {
	// Sites are those with something to tell, "other" included.
	Sites []*Site
	// InotifyWatches and EpollWatches sum over the descriptors of their kind;
	// -1 where unknown.
	InotifyWatches int64
	EpollWatches   int64
}
