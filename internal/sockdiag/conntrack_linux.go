// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
)

// Tracked reports whether connections of our network namespace may be tracked
// and so translated (NAT): then the other end of a connection to an address of
// this host, loopback included, can be in another namespace under another
// address, and that it is in no table here says nothing. proc is a mounted
// procfs. What cannot be read counts as tracked.
//
// Source: Documentation/networking/nf_conntrack-sysctl.rst; the count is that
// of the reader's network namespace.
func Tracked(proc string) bool {
	count, err := os.ReadFile(filepath.Join(proc, "sys/net/netfilter/nf_conntrack_count"))
	if errors.Is(err, os.ErrNotExist) {
		return false // no conntrack in this kernel
	}
	return err != nil || !bytes.Equal(bytes.TrimSpace(count), []byte("0"))
}
