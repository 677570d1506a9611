// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml

// Package autofixextension repairs leaked objects behind guards: it takes
// findings from leak_detect, and keeps a journal of all it decides.
package autofixextension
