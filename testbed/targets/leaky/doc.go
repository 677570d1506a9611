// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Command leaky is an HTTP server that does useful work and, on request,
// leaks: sockets in CLOSE_WAIT, unread responses, files, goroutines, inotify
// watches, timers, entries of a map. With --fixed it does the same work and
// closes what it opens. The testbed and the demo watch it from outside.
package main
