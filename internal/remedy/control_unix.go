// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package remedy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// notRunning tells "nobody listens" from trouble such as a missing right.
func notRunning(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ECONNREFUSED)
}
