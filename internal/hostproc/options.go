// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"errors"
	"fmt"
	"time"
)

// Defaults of Options.
const (
	DefaultMaxProcesses = 16384
	DefaultMaxObjects   = 200_000
	DefaultBudget       = 20_000
	DefaultSites        = 20
	DefaultHold         = time.Hour
	DefaultSiteHold     = 24 * time.Hour
	DefaultIdle         = 5 * time.Minute
	DefaultAbandoned    = 10 * time.Minute
)

// Options of a Scanner. The zero value of a field stands for its default.
type Options struct {
	// Root is where the file system of the host is mounted, "/" for our own.
	Root string
	// HostID and BootID go into every identity.
	HostID, BootID string

	MaxProcesses int // lives kept
	MaxObjects   int // descriptors followed, and sockets of one dump
	// CommandLine asks for the command line among the facts.
	CommandLine bool
	// Want says which processes are measured, nil for all. It is asked once a
	// life and whenever facts change.
	Want func(*Facts) bool

	// Detail turns reading of descriptors on.
	Detail bool
	// DetailWant says which processes are detailed without suspicion.
	DetailWant func(*Facts) bool
	Budget     int           // descriptors read per scan
	Sites      int           // per kind and process
	Hold       time.Duration // how long a process that climbed stays in detail
	SiteHold   time.Duration // how long a site keeps its place when empty
	Idle       time.Duration // without traffic, after which a socket is idle
	Abandoned  time.Duration // least time for which a socket is watched
}

func (o *Options) defaults() error {
	if o.MaxProcesses < 0 || o.MaxObjects < 0 || o.Budget < 0 || o.Sites < 0 {
		return errors.New("bounds must not be negative")
	}
	if o.HostID == "" || o.BootID == "" {
		return fmt.Errorf("identity of the host is incomplete: host %q, boot %q", o.HostID, o.BootID)
	}
	or(&o.Root, "/")
	or(&o.MaxProcesses, DefaultMaxProcesses)
	or(&o.MaxObjects, DefaultMaxObjects)
	or(&o.Budget, DefaultBudget)
	or(&o.Sites, DefaultSites)
	or(&o.Hold, DefaultHold)
	or(&o.SiteHold, DefaultSiteHold)
	or(&o.Idle, DefaultIdle)
	or(&o.Abandoned, DefaultAbandoned)
	return nil
}

func or[T comparable](v *T, standard T) {
	var zero T
	if *v == zero {
		*v = standard
	}
}
