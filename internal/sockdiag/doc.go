// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Package sockdiag asks the kernel about sockets through netlink sock_diag
// (man 7 sock_diag): dumps with idle times and byte counts, exact look-ups and
// exact destruction by address and cookie.
//
// It is a leaf that the engines share. It keeps no state between calls.
package sockdiag
