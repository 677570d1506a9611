// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package hostproc reads the kernel: the process table, what each process
// uses, and on request every descriptor it holds with the socket behind it.
//
// A Scanner reads all processes in one pass and produces no garbage of its own
// while nothing new appears. It knows lives, not pids: a reused pid or an exec
// is a new life. Detail (descriptors by kind and site, their births and
// deaths) is read within a budget, for the processes whose count climbs first.
package hostproc
