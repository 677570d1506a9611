// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests the built collector from outside, on real processes: what
// it reports over OTLP and on the prometheus exporter's page, and what becomes
// of the sockets, as the kernel and their owners tell. `make e2e` builds it
// first; OTELCOL_MEMGUARD names another binary. Without one the tests skip.
package e2e
