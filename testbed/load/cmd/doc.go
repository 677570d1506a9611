// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Command cmd makes a fixed load on one loopback address and writes what the
// client saw as JSON.
package main
