// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// dial connects to a listener and returns both ends; accept says whether the
// server takes the connection out of its queue.
func dial(t *testing.T, l *net.TCPListener, address string, bindTo string) (client, server *net.TCPConn) {
	t.Helper()
	d := net.Dialer{KeepAlive: -1, Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		if bindTo != "" {
			_ = c.Control(func(fd uintptr) { err = unix.BindToDevice(int(fd), bindTo) })
		}
		return err
	}}
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(t.Context(), "tcp", netip.AddrPortFrom(netip.MustParseAddr(address), l.Addr().(*net.TCPAddr).AddrPort().Port()).String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	accepted, err := l.AcceptTCP()
	require.NoError(t, err)
	t.Cleanup(func() { _ = accepted.Close() })
	return conn.(*net.TCPConn), accepted
}

func listenTCP(t *testing.T, network, address string) *net.TCPListener {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), network, address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener)
}

func TestFindPeer(t *testing.T) {
	for name, tt := range map[string]struct{ network, listen, dial, bindTo string }{
		"IPv4":                 {"tcp4", "127.0.0.1:0", "127.0.0.1", ""},
		"IPv6":                 {"tcp6", "[::1]:0", "::1", ""},
		"client 4, server 6":   {"tcp", "[::]:0", "127.0.0.1", ""},
		"bound to a device":    {"tcp4", "127.0.0.1:0", "127.0.0.1", "lo"},
		"bound to a device, 6": {"tcp6", "[::1]:0", "::1", "lo"},
	} {
		t.Run(name, func(t *testing.T) {
			c := open(t)
			l := listenTCP(t, tt.network, tt.listen)
			client, server := dial(t, l, tt.dial, tt.bindTo)
			for _, end := range []*net.TCPConn{client, server} {
				own := find(t, c, inode(t, end))
				peer, err := c.FindPeer(&own.ID)
				require.NoError(t, err)
				assert.Equal(t, PeerHeld, peer)
			}
			own := find(t, c, inode(t, server))
			require.NoError(t, client.Close())
			require.Eventually(t, func() bool {
				peer, err := c.FindPeer(&own.ID)
				return assert.NoError(t, err) && peer == PeerOrphan
			}, 5*time.Second, time.Millisecond, "closed by its owner, waiting for our end")
			require.NoError(t, server.Close())
			require.Eventually(t, func() bool {
				peer, err := c.FindPeer(&own.ID)
				return assert.NoError(t, err) && peer != PeerHeld
			}, 5*time.Second, time.Millisecond)
		})
	}
}

// A reset leaves nothing at the other end, and the listener on its port is not
// the peer.
func TestFindPeerAfterReset(t *testing.T) {
	c := open(t)
	l := listenTCP(t, "tcp4", "127.0.0.1:0")
	client, server := dial(t, l, "127.0.0.1", "")
	own := find(t, c, inode(t, client))
	require.NoError(t, server.SetLinger(0))
	require.NoError(t, server.Close())
	require.Eventually(t, func() bool {
		peer, err := c.FindPeer(&own.ID)
		return assert.NoError(t, err) && peer == PeerAbsent
	}, 5*time.Second, time.Millisecond)
}

// A connection that nobody has accepted yet may still be accepted.
func TestFindPeerInTheAcceptQueue(t *testing.T) {
	c := open(t)
	l := listenTCP(t, "tcp4", "127.0.0.1:0")
	var d net.Dialer
	d.SetMultipathTCP(false)
	conn, err := d.DialContext(t.Context(), "tcp4", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	own := find(t, c, inode(t, conn.(*net.TCPConn)))
	peer, err := c.FindPeer(&own.ID)
	require.NoError(t, err)
	assert.Equal(t, PeerHeld, peer)
}

func TestFindPeerOfNothing(t *testing.T) {
	c := open(t)
	_, err := c.FindPeer(&ID{Family: FamilyIPv4, Protocol: ProtocolTCP, Local: netip.MustParseAddrPort("127.0.0.1:1")})
	require.ErrorIs(t, err, ErrInvalidID)
}

func BenchmarkFindPeer(b *testing.B) {
	c := open(b)
	id := ID{
		Family: FamilyIPv4, Protocol: ProtocolTCP,
		Local: netip.MustParseAddrPort("127.0.0.1:1"), Remote: netip.MustParseAddrPort("127.0.0.1:2"),
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.FindPeer(&id); err != nil {
			b.Fatal(err)
		}
	}
}

// A peer that is bound to a device of this host is found there, though our own
// end is bound to none.
func TestFindPeerBoundToAnotherDevice(t *testing.T) {
	devices, err := net.Interfaces()
	require.NoError(t, err)
	tried := 0
	for i := range devices {
		if devices[i].Flags&net.FlagLoopback != 0 || devices[i].Flags&net.FlagUp == 0 {
			continue
		}
		addresses, err := devices[i].Addrs()
		require.NoError(t, err)
		for _, a := range addresses {
			prefix, err := netip.ParsePrefix(a.String())
			if err != nil || !prefix.Addr().Is4() {
				continue
			}
			tried++
			c := open(t)
			l := listenTCP(t, "tcp4", netip.AddrPortFrom(prefix.Addr(), 0).String())
			client, server := dial(t, l, prefix.Addr().String(), devices[i].Name)
			own := find(t, c, inode(t, server))
			require.NoError(t, client.CloseWrite())
			peer, err := c.FindPeer(&own.ID)
			require.NoError(t, err)
			assert.Equal(t, PeerHeld, peer, "half closed, held, bound to %s", devices[i].Name)
		}
	}
	if tried == 0 {
		t.Skip("needs a network device with an IPv4 address beside lo")
	}
}
