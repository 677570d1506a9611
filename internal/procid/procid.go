// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package procid reads and proves the identity of processes: host, boot, pid,
// start time and program. It is a leaf that the engines share
// (docs/decisions/0003); it keeps no state.
package procid

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
)

var (
	// ErrGone means that the process ended. It is expected trouble.
	ErrGone = errors.New("process is gone")
	// ErrMalformed means that the kernel's text could not be understood.
	ErrMalformed = errors.New("malformed process status")
)

// HostID returns host.id for the host whose file system is mounted at root
// ("/" for our own): the machine id (man 5 machine-id), or where there is
// none, a UUIDv5 of the host name.
func HostID(root string) (string, error) {
	for _, name := range []string{"etc/machine-id", "var/lib/dbus/machine-id"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if id := strings.TrimSpace(string(text)); err == nil && len(id) == 32 {
			return id, nil
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("no machine id under %q and no host name: %w", root, err)
	}
	return uuid.NewSHA1(uuid.NameSpaceDNS, []byte(name)).String(), nil
}

// BootID returns the random id of the running boot. proc is a mounted procfs.
func BootID(proc string) (string, error) {
	text, err := os.ReadFile(filepath.Join(proc, "sys/kernel/random/boot_id"))
	if err != nil {
		return "", fmt.Errorf("read boot id: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// OwnPIDs reports whether pids under proc are pids of our own pid space: only
// then does kill(2) or pidfd_open(2) reach the process that was read about.
func OwnPIDs(proc string) bool {
	self, err := os.Readlink(filepath.Join(proc, "self"))
	return err == nil && self == strconv.Itoa(os.Getpid())
}

// Read returns the identity of one process. The device and inode of a program
// that may not be read are 0: that is part of the identity too.
func Read(proc, hostID, bootID string, pid int32) (leak.Identity, error) {
	id := leak.Identity{HostID: hostID, BootID: bootID, PID: pid}
	dir := filepath.Join(proc, strconv.Itoa(int(pid)))
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			return id, ErrGone
		}
		return id, fmt.Errorf("read identity of process %d: %w", pid, err)
	}
	if id.StartTicks, err = StartTicks(text); err != nil {
		return id, fmt.Errorf("process %d: %w", pid, err)
	}
	// A program may lie on a file system that hangs: its server is not asked.
	var st unix.Statx_t
	err = unix.Statx(unix.AT_FDCWD, filepath.Join(dir, "exe"), unix.AT_STATX_DONT_SYNC|unix.AT_NO_AUTOMOUNT, unix.STATX_INO, &st)
	if err == nil {
		id.ExeDev, id.ExeIno = unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino
	}
	return id, nil
}

// StartTicks returns field 22 of a /proc/PID/stat text (man 5 proc_pid_stat).
// The command name, field 2, may itself hold spaces and parentheses.
func StartTicks(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, fmt.Errorf("%w: no command name in %.40q", ErrMalformed, stat)
	}
	const startTime = 22 - 3 // the text after the name begins with field 3
	fields := bytes.Fields(stat[end+1:])
	if len(fields) <= startTime {
		return 0, fmt.Errorf("%w: %d fields after the command name", ErrMalformed, len(fields))
	}
	id := fields[startTime]
	ticks, err := strconv.ParseUint(string(id), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: start time %.40q", ErrMalformed, id)
	}
	return ticks, nil
}
