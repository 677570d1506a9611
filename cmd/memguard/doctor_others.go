// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"fmt"
	"runtime"
)

func examine(string) ([]check, error) {
	return nil, fmt.Errorf("doctor needs Linux, this is %s", runtime.GOOS)
}
