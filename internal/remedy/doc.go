// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package remedy repairs leaked objects of other processes, behind guards.
//
// A repair is proposed, guarded, (approved,) proven again, done, verified and
// journaled, in this order. The package has no collector types, so that the
// part that acts can one day be a process of its own with only the rights it
// needs. The parts that read the journal, check policies and speak to a
// running collector build on every system; the parts that act are Linux only.
package remedy
