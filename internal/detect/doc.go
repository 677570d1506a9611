// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package detect is the statistics engine: it judges series of samples of one
// process life and says which of them leak, on what basis and since when.
//
// It knows nothing of the collector, has no clock (time comes with the
// samples), does no I/O and starts no goroutines. It is not safe for
// concurrent use: the caller holds a lock around an Engine and all its lives.
// A sample costs O(1) time, no allocation, and the state of a series has a
// fixed size. The method is explained in docs/decisions/0006 and 0007.
package detect
