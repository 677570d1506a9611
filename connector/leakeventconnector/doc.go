// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml

// Package leakeventconnector is the connector leak_event. It reads the
// findings that leak_detect put into a metrics stream and emits a log event
// for each change of state. It keeps no state of its own.
package leakeventconnector
