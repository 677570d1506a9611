// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxSiteLength bounds a site in bytes.
const MaxSiteLength = 120

// SocketSite names the site of a socket: the local port for a server's
// sockets, the remote host and port for a client's. serverPort reports
// whether a local port is one that something listens on.
func SocketSite(local, remote netip.AddrPort, serverPort func(port uint16) bool) string {
	if serverPort(local.Port()) || !remote.IsValid() || remote.Port() == 0 {
		return ":" + strconv.Itoa(int(local.Port()))
	}
	return netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()).String()
}

// CleanSite makes a string that a watched process chose (a path, a socket
// name) fit to be a site: valid UTF-8, no control characters, bounded in
// length with its head and tail kept and a hash of what was cut out.
func CleanSite(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= MaxSiteLength {
		return s
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(s))
	ellipsis := fmt.Sprintf("…%08x…", h.Sum32())
	half := (MaxSiteLength - len(ellipsis)) / 2
	head, tail := half, len(s)-half
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + ellipsis + s[tail:]
}
