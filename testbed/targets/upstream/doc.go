// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Command upstream is what the leaky servers call: an HTTP server, a server
// that answers one line and closes, and one that keeps connections open and
// echoes. It is a process of its own, so that its ends of the connections are
// not the leaky server's.
package main
