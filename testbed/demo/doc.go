// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Command demo shows the main job end to end, on real processes: a server
// that leaks sockets while it serves, its fixed twin, steady load on both, and
// the collector in enforce, allowed to act on the leaky one only. It prints
// what happens as it happens and judges at the end by its own eyes: by what
// the servers know, by the kernel's socket table and by the load generator,
// never by what the collector says about itself.
package main
