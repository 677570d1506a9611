// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/procid"
)

// environment is what guard 12 found at start: which rights are there.
type environment struct {
	ptrace, netAdmin bool
	ownPIDs          bool
	missing          []string // system calls that are not there
	// classified says that sockets can carry classes of net_cls or net_prio,
	// which a copy of a descriptor sets to that of our own cgroup
	// (__receive_sock in net/core/scm.c): then looking through a copy is an act.
	classified bool
}

func readEnvironment(proc string) environment {
	var env environment
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err == nil {
		has := func(capability uint) bool { return data[capability/32].Effective&(1<<(capability%32)) != 0 }
		env.ptrace, env.netAdmin = has(unix.CAP_SYS_PTRACE), has(unix.CAP_NET_ADMIN)
	}
	env.ownPIDs = procid.OwnPIDs(proc)
	env.classified = classified(proc)
	env.probeCalls()
	return env
}

// classified reports whether sockets can have different classes of net_cls or
// net_prio: whether such a hierarchy is in use and has more groups than its
// root (man 7 cgroups). Groups come and go, so it is asked again and again.
// What cannot be read counts as one.
func classified(proc string) bool {
	table, err := os.ReadFile(filepath.Join(proc, "cgroups"))
	if errors.Is(err, os.ErrNotExist) {
		return member(proc) // not all kernels with cgroups have the table
	}
	if err != nil {
		return true
	}
	for line := range strings.Lines(string(table)) {
		// controller hierarchy groups enabled
		f := strings.Fields(line)
		if len(f) > 2 && netController(f[0]) && f[1] != "0" && f[2] != "1" {
			return true
		}
	}
	return false
}

// member reports whether we are in a hierarchy of net_cls or net_prio.
func member(proc string) bool {
	groups, err := os.ReadFile(filepath.Join(proc, "self/cgroup"))
	if err != nil {
		return !errors.Is(err, os.ErrNotExist) // a kernel without cgroups has no such file
	}
	for line := range strings.Lines(string(groups)) {
		// hierarchy:controllers:path
		if f := strings.SplitN(line, ":", 3); len(f) == 3 && f[0] != "0" && netController(f[1]) {
			return true
		}
	}
	return false
}

func netController(list string) bool {
	for name := range strings.SplitSeq(list, ",") {
		if name == "net_cls" || name == "net_prio" {
			return true
		}
	}
	return false
}

// probeCalls asks about ourselves only.
func (env *environment) probeCalls() {
	self := os.Getpid()
	pidfd, err := unix.PidfdOpen(self, 0)
	if err != nil {
		env.missing = append(env.missing, "pidfd_open: "+err.Error())
		return
	}
	defer unix.Close(pidfd) //nolint:errcheck // nothing is lost
	copied, err := unix.PidfdGetfd(pidfd, pidfd, 0)
	if err != nil {
		env.missing = append(env.missing, "pidfd_getfd: "+err.Error())
		return
	}
	defer unix.Close(copied) //nolint:errcheck // nothing is lost
	same, err := kcmp(self, self, kcmpFile, uintptr(pidfd), uintptr(copied))
	if err == nil && !same {
		err = errors.New("does not know a copy from another file")
	}
	if err != nil {
		env.missing = append(env.missing, "kcmp: "+err.Error())
	}
}

// strongest returns the strongest mode allowed and why it is not the one asked
// for. off means that not even reading is to be trusted.
func (env *environment) strongest(asked Mode, policies []Policy) (mode Mode, why []string, off bool) {
	if !env.ownPIDs {
		return ModeDryRun, []string{
			"the pids under /proc are not of our pid space: a finding's pid could name another process (hostPID is needed)",
		}, true
	}
	for _, m := range env.missing {
		why = append(why, "the kernel does not allow "+m)
	}
	if !env.ptrace && !anySameUser(policies) {
		why = append(why, "CAP_SYS_PTRACE is missing: processes of other users cannot be seen, and no policy says sole_holder: same_user")
	}
	if len(why) > 0 {
		return ModeDryRun, why, false
	}
	return asked, nil, false
}

func anySameUser(policies []Policy) bool {
	for i := range policies {
		if policies[i].SoleHolder == SoleHolderSameUser {
			return true
		}
	}
	return false
}

// allows is guard 12 for one action.
func (env *environment) allows(a Action) (string, bool) {
	if !env.ownPIDs {
		return "the pid space is not ours", false
	}
	if len(env.missing) > 0 {
		return "the kernel does not allow " + env.missing[0], false
	}
	if a == ActionSocketDestroy && !env.netAdmin {
		return fmt.Sprintf("%s needs CAP_NET_ADMIN", a), false
	}
	return "what the action needs is there", true
}
