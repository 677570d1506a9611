// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package remedy

import (
	"errors"
	"fmt"
	"os"
)

// CheckDirectory refuses what is no directory; owners are not known here.
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
	return nil
}
