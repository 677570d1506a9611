// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Bits of CapEff, include/uapi/linux/capability.h.
const (
	capNetAdmin  = 12
	capSysPtrace = 19
)

// privileges returns the sole_holder that the policy needs here, and what
// cannot be done without a capability that we lack.
func privileges() (soleHolder string, lost []string) {
	held := capabilities()
	soleHolder = "host"
	if held&(1<<capSysPtrace) == 0 {
		lost = append(lost, "without CAP_SYS_PTRACE  processes of other users cannot be read (socket.shutdown of our own still works)")
	}
	if n, first := unreadable("/proc"); n > 0 {
		soleHolder = "same_user"
		lost = append(lost,
			fmt.Sprintf("sole_holder same_user  we may not read %d other processes (the first is %s), so that nobody else holds", n, first),
			"            a socket is proven among the processes of this user only; as the targets are ours, that suffices")
	}
	if held&(1<<capNetAdmin) == 0 {
		lost = append(lost, "without CAP_NET_ADMIN   socket.destroy is off; it is not needed here")
	}
	return soleHolder, lost
}

// unreadable counts the processes whose descriptors we may not see.
func unreadable(proc string) (n int, first string) {
	entries, err := os.ReadDir(proc)
	if err != nil {
		return 1, err.Error()
	}
	for _, entry := range entries {
		pid := entry.Name()
		if _, err := strconv.Atoi(pid); err != nil {
			continue
		}
		// A directory may be listed where its links may not be read: man 5 proc_pid_fd.
		if _, err := os.Readlink(filepath.Join(proc, pid, "cwd")); errors.Is(err, os.ErrPermission) {
			if n++; n == 1 {
				first = pid
			}
		}
	}
	return n, first
}

func capabilities() uint64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), "\nCapEff:")
	line, _, _ := strings.Cut(rest, "\n")
	held, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
	if err != nil {
		return 0
	}
	return held
}
