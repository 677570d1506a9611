// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

func findingForBench() leak.Finding {
	f := leak.NewFinding()
	f.ID, f.Provenance = "finding", &leak.Provenance{}
	return f
}

// BenchmarkProve asks the kernel for every proof of one socket of our own.
func BenchmarkProve(b *testing.B) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(b, err)
	defer func() { require.NoError(b, unix.Close(fd)) }()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	require.NoError(b, err)
	var st unix.Stat_t
	require.NoError(b, unix.Fstat(fd, &st))
	h := host{procfs: procfs{"/proc"}, hostID: "h", bootID: "b"}
	id, err := procid.Read("/proc", "h", "b", int32(os.Getpid()))
	require.NoError(b, err)
	process := leak.Process{PID: id.PID, InstanceID: id.InstanceID()}
	key := objectKey{fd: int32(fd), inode: st.Ino, cookie: cookie}
	b.ReportAllocs()
	for b.Loop() {
		if p := h.prove(&process, &key, &sockdiag.ID{Cookie: cookie}, nil); !p.ok() {
			b.Skip("cannot be proven here:", p.why())
		}
	}
}

// BenchmarkLookForHolders looks over the living host for one socket.
func BenchmarkLookForHolders(b *testing.B) {
	p := procfs{"/proc"}
	b.ReportAllocs()
	for b.Loop() {
		p.lookForHolders(map[uint64]bool{1: true}, time.Now())
	}
}
