// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// A peer is gone only where the tables can tell: where a port is redirected,
// the server's end stands under another address, and is not gone.
func TestPeerGone(t *testing.T) {
	t.Parallel()
	near, far := netip.MustParseAddrPort("127.0.0.1:40000"), netip.MustParseAddrPort("127.0.0.1:80")
	abroad := netip.MustParseAddrPort("192.0.2.1:80")
	held := []socket{{transport: TransportTCP, local: far, remote: near}}
	loose := func(state uint8) []looseEnd { return []looseEnd{{tuple{local: far, remote: near}, state}} }
	tests := map[string]struct {
		remote     netip.AddrPort
		list       []socket
		loose      []looseEnd
		translated bool
		seen       bool
		broken     bool
		want       bool
		wantSeen   bool
	}{
		"held":                           {remote: far, list: held, wantSeen: true},
		"orphan":                         {remote: far, loose: loose(sockdiag.StateFinWait2), want: true, wantSeen: true},
		"waits to be accepted":           {remote: far, loose: loose(sockdiag.StateEstablished), wantSeen: true},
		"absent":                         {remote: far, want: true},
		"absent, may be redirected":      {remote: far, translated: true},
		"absent, redirected, seen once":  {remote: far, translated: true, seen: true, want: true, wantSeen: true},
		"orphan, may be redirected":      {remote: far, loose: loose(sockdiag.StateFinWait2), translated: true, want: true, wantSeen: true},
		"on another host":                {remote: abroad},
		"on another host, seen (a lie)":  {remote: abroad, seen: true, wantSeen: true},
		"the dump failed":                {remote: far, broken: true},
		"both a loose and a held socket": {remote: far, list: held, loose: loose(sockdiag.StateFinWait2), wantSeen: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSockets(100, &Stats{})
			s.list, s.loose, s.broken = tt.list, tt.loose, tt.broken
			s.loadPeers()
			s.translated = tt.translated
			seen := tt.seen
			assert.Equal(t, tt.want, s.peerGone(&socket{transport: TransportTCP, local: near, remote: tt.remote}, &seen))
			assert.Equal(t, tt.wantSeen, seen)
		})
	}
}
