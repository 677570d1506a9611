// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package rig is what the demo and the end-to-end tests share: it builds and
// starts the targets and the collector, remembers every pid that it started
// and ends just those, receives events in a real OTLP receiver, and judges
// what happened from the kernel's tables and from the targets themselves.
package rig
