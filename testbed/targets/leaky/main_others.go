// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Fprintln(os.Stderr, "leaky needs Linux: it leaks inotify watches and reads socket states from the kernel")
	os.Exit(1)
}
