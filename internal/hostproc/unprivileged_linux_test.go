// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// asNobody runs fn on a thread of its own without any privilege. The thread
// ends with its goroutine, so that nothing else loses its own.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to give privileges up")
	}
	const nobody = 65534
	done := make(chan unix.Errno)
	go func() {
		runtime.LockOSThread()
		_, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, ^uintptr(0), nobody, ^uintptr(0))
		if errno == 0 {
			fn()
		}
		done <- errno
	}()
	errno := <-done
	// Changing its user made the process undumpable: its files in /proc are
	// root's until this.
	_ = unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)
	require.Zero(t, errno, "setresuid: %v", errno)
}

func TestWithoutPrivileges(t *testing.T) {
	h := startHolder(t)
	h.do(t, "eventfd 20")
	want := int64(openDescriptors(t, h.pid()))
	var got Process
	var stats Stats
	var err error
	asNobody(t, func() {
		var s *Scanner
		if s, err = New(Options{HostID: "h", BootID: "b", Detail: true, DetailWant: func(*Facts) bool { return true }}); err != nil {
			return
		}
		defer func() { _ = s.Close() }()
		if p := scan(t, s, time.Now(), h.pid()); p != nil {
			got = *p
		}
		stats = s.Stats()
	})
	require.NoError(t, err)
	assert.EqualValues(t, h.pid(), got.Identity.PID, "it is seen")
	assert.Positive(t, got.Resident)
	assert.Positive(t, got.DescriptorLimit)
	assert.NotEmpty(t, got.Facts.Name)
	assert.Empty(t, got.Facts.Path)
	assert.Zero(t, got.Identity.ExeIno)
	assert.Nil(t, got.Detail)
	assert.Positive(t, stats.Denied)
	assert.Positive(t, stats.Errors[ReasonPermission])
	if stats.MissingDescriptor == 0 { // Linux 6.2 and later
		assert.Equal(t, want, got.Descriptors)
	}
}
