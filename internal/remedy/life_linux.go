// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

// life is what is remembered of one life of a process, whichever of its
// findings it comes from.
type life struct{}
