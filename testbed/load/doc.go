// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package load is a small HTTP load generator that tells the truth: it never
// retries, each worker has one connection of its own, and a reset is counted
// as a reset. net/http's client would hide just what the demo must show, since
// it silently repeats a GET whose reused connection broke.
package load
