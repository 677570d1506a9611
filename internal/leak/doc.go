// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package leak is the vocabulary that every MemGuard component shares: kinds
// of objects, the identity of a process, findings and their pdata form, and
// the narrow interfaces by which components meet at run time.
//
// It imports nothing else of this module. The names it writes on the wire are
// listed in docs/vocabulary.md.
package leak
