// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package remedy

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// errLocked means that another process holds the lock.
var errLocked = errors.New("locked by another process")

// fileLock is a flock(2): the kernel drops it when its holder ends, however
// that ends.
type fileLock struct{ file *os.File }

func lockFile(path string) (*fileLock, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = file.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	return &fileLock{file: file}, nil
}

// Close drops the lock.
func (l *fileLock) Close() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("drop lock: %w", err)
	}
	return nil
}
