// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package procid

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadOwnIdentity(t *testing.T) {
	t.Parallel()
	boot, err := BootID("/proc")
	require.NoError(t, err)
	host, err := HostID("/")
	require.NoError(t, err)
	id, err := Read("/proc", host, boot, int32(os.Getpid()))
	require.NoError(t, err)
	assert.NotZero(t, id.StartTicks)
	assert.NotZero(t, id.ExeIno)
	parent, err := Read("/proc", host, boot, int32(os.Getppid()))
	require.NoError(t, err)
	assert.NotEqual(t, parent.InstanceID(), id.InstanceID())
}

func TestReadGone(t *testing.T) {
	t.Parallel()
	_, err := Read("/proc", "h", "b", 1<<30)
	require.ErrorIs(t, err, ErrGone)
}

func TestOwnPIDs(t *testing.T) {
	t.Parallel()
	assert.True(t, OwnPIDs("/proc"))
	foreign := t.TempDir()
	assert.False(t, OwnPIDs(foreign), "no proc at all")
	require.NoError(t, os.Symlink("1234567", filepath.Join(foreign, "self")))
	assert.False(t, OwnPIDs(foreign), "another pid space")
}

func TestHostIDFallsBackToTheName(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	byName, err := HostID(root)
	require.NoError(t, err)
	assert.NotEmpty(t, byName)
	require.NoError(t, os.Mkdir(filepath.Join(root, "etc"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(root, "etc/machine-id"), []byte("0123456789abcdef0123456789abcdef\n"), 0o600))
	id, err := HostID(root)
	require.NoError(t, err)
	assert.Equal(t, "0123456789abcdef0123456789abcdef", id)
}

func TestStartTicks(t *testing.T) {
	t.Parallel()
	const tail = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21\n"
	tests := map[string]struct {
		stat string
		want uint64
		fail bool
	}{
		"plain":             {stat: "42 (sh)" + tail, want: 98765},
		"hostile name":      {stat: "42 (a) S 9 9) (b)" + tail, want: 98765},
		"empty":             {fail: true},
		"no name":           {stat: "42 sh S 1", fail: true},
		"torn":              {stat: "42 (sh) S 1 2 3", fail: true},
		"not a number":      {stat: "42 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 -1 2", fail: true},
		"more than 64 bits": {stat: "42 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 99999999999999999999 2", fail: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := StartTicks([]byte(tt.stat))
			if tt.fail {
				require.ErrorIs(t, err, ErrMalformed)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.want, got)
		})
	}
}

func FuzzStartTicks(f *testing.F) {
	f.Add([]byte("42 (sh) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 98765 20 21\n"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		if _, err := StartTicks(stat); err != nil {
			require.ErrorIs(t, err, ErrMalformed)
		}
	})
}
