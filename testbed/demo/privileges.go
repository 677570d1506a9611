// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
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
		soleHolder = "same_user"
		lost = append(lost,
			"without CAP_SYS_PTRACE  descriptors of other users cannot be read: the policy says sole_holder: same_user",
			"                        (the targets are of this user and allow it, so socket.shutdown suffices)")
	}
	if held&(1<<capNetAdmin) == 0 {
		lost = append(lost, "without CAP_NET_ADMIN   socket.destroy is off; it is not needed here")
	}
	return soleHolder, lost
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
