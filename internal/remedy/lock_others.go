// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package remedy

import "errors"

var errLocked = errors.New("locked by another process")

type fileLock struct{}

func lockFile(string) (*fileLock, error) {
	return nil, errors.New("a journal cannot be written on this system, only read")
}

// Close does nothing.
func (*fileLock) Close() error { return nil }
