// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml

// Package leakdetectprocessor judges the metrics of processes in event time
// and appends what it finds to the stream, as metrics of its own scope. The
// statistics are in internal/detect; this package knows series, lives of
// processes, storage and the remediator.
package leakdetectprocessor
