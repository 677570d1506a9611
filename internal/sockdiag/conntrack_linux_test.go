// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestTracked(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	assert.False(t, Tracked(proc), "no conntrack at all")
	dir := filepath.Join(proc, "sys/net/netfilter")
	require.NoError(t, os.MkdirAll(dir, 0o700))
	name := filepath.Join(dir, "nf_conntrack_count")
	require.NoError(t, os.WriteFile(name, []byte("0\n"), 0o600))
	assert.False(t, Tracked(proc), "loaded, nothing tracked")
	require.NoError(t, os.WriteFile(name, []byte("12\n"), 0o600))
	assert.True(t, Tracked(proc))
	require.NoError(t, os.Remove(name))
	require.NoError(t, os.Mkdir(name, 0o700))
	assert.True(t, Tracked(proc), "unreadable counts as tracked")
}
