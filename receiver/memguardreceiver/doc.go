// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:generate go tool -modfile=../../internal/tools/go.mod mdatagen metadata.yaml

// Package memguardreceiver is the receiver of type memguard. As a metrics
// receiver it scans the processes of a Linux host; as a logs receiver it
// delivers the outcomes of remediation that the extension named by `audit`
// keeps for it.
package memguardreceiver
