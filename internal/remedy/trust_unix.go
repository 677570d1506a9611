// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build unix

package remedy

import (
	"errors"
	"fmt"
	"os"
	"syscall"
)

// CheckDirectory refuses a directory in which somebody else could write: what
// is a kill switch there, or a lease, would be theirs to make and to remove.
func CheckDirectory(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("examine directory: %w", err)
	}
	return trusted(info)
}

func trusted(info os.FileInfo) error {
	if !info.IsDir() {
		return errors.New("it is not a directory")
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return errors.New("its owner cannot be told")
	}
	if st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("it belongs to user %d, neither to root nor to us", st.Uid)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("its group or others may write there (mode %04o)", mode)
	}
	return nil
}
