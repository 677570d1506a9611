// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package remedy

func notRunning(error) bool { return true }
