// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func open(tb testing.TB) *Conn {
	tb.Helper()
	c, err := Open()
	require.NoError(tb, err)
	tb.Cleanup(func() { assert.NoError(tb, c.Close()) })
	return c
}

// inode returns the sockfs inode behind a connection or listener.
func inode(tb testing.TB, sc syscall.Conn) uint32 {
	tb.Helper()
	raw, err := sc.SyscallConn()
	require.NoError(tb, err)
	var st unix.Stat_t
	require.NoError(tb, raw.Control(func(fd uintptr) { err = unix.Fstat(int(fd), &st) }))
	require.NoError(tb, err)
	return uint32(st.Ino)
}

// tcpPair connects two sockets over loopback.
func tcpPair(tb testing.TB, network, address string) (client, server *net.TCPConn) {
	tb.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(tb.Context(), network, address)
	if err != nil {
		tb.Skipf("no %s on this host: %v", network, err)
	}
	defer l.Close()
	dialed := make(chan net.Conn, 1)
	go func() {
		var d net.Dialer
		conn, err := d.DialContext(context.Background(), network, l.Addr().String())
		if err != nil {
			close(dialed)
			return
		}
		dialed <- conn
	}()
	accepted, err := l.Accept()
	require.NoError(tb, err)
	conn := <-dialed
	require.NotNil(tb, conn)
	tb.Cleanup(func() {
		_ = conn.Close()
		_ = accepted.Close()
	})
	return conn.(*net.TCPConn), accepted.(*net.TCPConn)
}

// find dumps until it sees the inode.
func find(tb testing.TB, c *Conn, ino uint32) Socket {
	tb.Helper()
	var found Socket
	err := c.TCP(AllStates, func(s *Socket) bool {
		if s.Inode == ino {
			found = *s
		}
		return true
	})
	if err != nil {
		require.ErrorIs(tb, err, ErrInterrupted)
	}
	require.Equal(tb, ino, found.Inode, "socket is not in the dump")
	return found
}

var families = []struct {
	network, address string
	family           uint8
}{
	{"tcp4", "127.0.0.1:0", FamilyIPv4},
	{"tcp6", "[::1]:0", FamilyIPv6},
}

func TestDumpTCP(t *testing.T) {
	for _, f := range families {
		t.Run(f.network, func(t *testing.T) {
			c := open(t)
			client, server := tcpPair(t, f.network, f.address)
			_, err := client.Write([]byte("hello"))
			require.NoError(t, err)

			var got Socket
			require.Eventually(t, func() bool {
				got = find(t, c, inode(t, server))
				return got.RecvQueue == 5
			}, 5*time.Second, time.Millisecond)
			assert.Equal(t, f.family, got.Family)
			assert.Equal(t, StateEstablished, got.State)
			assert.Equal(t, server.LocalAddr().String(), got.Local.String())
			assert.Equal(t, client.LocalAddr().String(), got.Remote.String())
			assert.EqualValues(t, os.Getuid(), got.UID)
			assert.True(t, got.HasInfo)
			assert.EqualValues(t, 5, got.BytesReceived)
			assert.NotZero(t, got.Cookie)
			assert.Less(t, got.LastDataRecv, time.Minute)

			sent := find(t, c, inode(t, client))
			assert.EqualValues(t, 5, sent.BytesSent)

			require.NoError(t, client.CloseWrite())
			require.Eventually(t, func() bool {
				return find(t, c, inode(t, server)).State == StateCloseWait
			}, 5*time.Second, time.Millisecond)
		})
	}
}

func TestStateMaskSelects(t *testing.T) {
	c := open(t)
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	seen := false
	require.NoError(t, c.TCP(StateMask(StateListen), func(s *Socket) bool {
		assert.Equal(t, StateListen, s.State)
		seen = seen || s.Local.String() == l.Addr().String()
		return true
	}))
	assert.True(t, seen)
}

func TestDumpStopsWhenTold(t *testing.T) {
	c := open(t)
	client, _ := tcpPair(t, "tcp4", "127.0.0.1:0")
	calls := 0
	require.NoError(t, c.TCP(AllStates, func(*Socket) bool { calls++; return false }))
	assert.Equal(t, 1, calls)
	find(t, c, inode(t, client)) // the connection is usable afterwards
}

func TestDumpAfterAbandonedAnswer(t *testing.T) {
	c := open(t)
	client, _ := tcpPair(t, "tcp4", "127.0.0.1:0")
	id := ID{Family: FamilyIPv4, Protocol: ProtocolTCP}
	c.begin(inetRequestSize, typeByFamily, flagRequest|flagDump)
	c.req = appendInetRequest(c.req, &id, AllStates, extTCPInfo, false)
	require.NoError(t, c.send())
	c.dirty = true
	find(t, c, inode(t, client))
}

func TestDumpUDP(t *testing.T) {
	c := open(t)
	var lc net.ListenConfig
	pc, err := lc.ListenPacket(t.Context(), "udp4", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = pc.Close() })
	ino := inode(t, pc.(*net.UDPConn))
	var got Socket
	require.NoError(t, c.UDP(AllStates, func(s *Socket) bool {
		if s.Inode == ino {
			got = *s
		}
		return true
	}))
	assert.Equal(t, pc.LocalAddr().String(), got.Local.String())
	assert.Equal(t, StateClose, got.State)
	assert.EqualValues(t, ProtocolUDP, got.Protocol)

	again, err := c.Lookup(got.ID)
	require.NoError(t, err)
	assert.Equal(t, ino, again.Inode)
}

func TestDumpUnix(t *testing.T) {
	c := open(t)
	path := filepath.Join(t.TempDir(), "s")
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	var d net.Dialer
	client, err := d.DialContext(t.Context(), "unix", path)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })

	listener, connected := inode(t, l.(*net.UnixListener)), inode(t, client.(*net.UnixConn))
	var name string
	var state uint8
	found := false
	require.NoError(t, c.Unix(func(s *UnixSocket) bool {
		switch s.Inode {
		case listener:
			name, state = string(s.Name), s.State
		case connected:
			found = true
			assert.EqualValues(t, unix.SOCK_STREAM, s.Type)
			assert.Equal(t, StateEstablished, s.State)
		}
		return true
	}))
	assert.True(t, found)
	assert.Equal(t, path, name)
	assert.Equal(t, StateListen, state)
}

func TestLookup(t *testing.T) {
	for _, f := range families {
		t.Run(f.network, func(t *testing.T) {
			c := open(t)
			_, server := tcpPair(t, f.network, f.address)
			want := find(t, c, inode(t, server))

			got, err := c.Lookup(want.ID)
			require.NoError(t, err)
			assert.Equal(t, want.ID, got.ID)
			assert.Equal(t, want.Inode, got.Inode)
			assert.True(t, got.HasInfo)

			wrong := want.ID
			wrong.Cookie++
			_, err = c.Lookup(wrong)
			require.ErrorIs(t, err, ErrNotFound)

			for _, cookie := range []uint64{0, noCookie} {
				wrong.Cookie = cookie
				_, err = c.Lookup(wrong)
				require.ErrorIs(t, err, ErrNoCookie)
			}
		})
	}
}

func TestDestroyOwnSocketOnly(t *testing.T) {
	for _, f := range families {
		t.Run(f.network, func(t *testing.T) {
			c := open(t)
			_, server := tcpPair(t, f.network, f.address)
			_, bystander := tcpPair(t, f.network, f.address)
			target := find(t, c, inode(t, server))

			for _, cookie := range []uint64{0, noCookie} {
				wrong := target.ID
				wrong.Cookie = cookie
				require.ErrorIs(t, c.Destroy(wrong), ErrNoCookie)
			}
			wrong := target.ID
			wrong.Cookie++
			err := c.Destroy(wrong)
			skipUnlessSupported(t, err)
			require.ErrorIs(t, err, ErrNotFound)
			assert.Equal(t, StateEstablished, find(t, c, inode(t, server)).State, "a wrong cookie must not kill")

			err = c.Destroy(target.ID)
			skipUnlessAllowed(t, err)
			require.NoError(t, err)
			_, err = server.Write([]byte("x"))
			require.Error(t, err)
			_, err = c.Lookup(target.ID)
			require.ErrorIs(t, err, ErrNotFound)
			require.ErrorIs(t, c.Destroy(target.ID), ErrNotFound)
			assert.Equal(t, StateEstablished, find(t, c, inode(t, bystander)).State)
		})
	}
}

// skipUnlessAllowed skips where the kernel found the socket, but refuses.
func skipUnlessAllowed(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) {
		t.Skip("needs CAP_NET_ADMIN")
	}
}

func skipUnlessSupported(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, unix.EOPNOTSUPP) {
		t.Skip("kernel without CONFIG_INET_DIAG_DESTROY")
	}
}

func TestClosedConn(t *testing.T) {
	c, err := Open()
	require.NoError(t, err)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close())
	require.ErrorIs(t, c.TCP(AllStates, func(*Socket) bool { return true }), ErrClosed)
}

func TestDumpAllocatesNothing(t *testing.T) {
	c := open(t)
	tcpPair(t, "tcp4", "127.0.0.1:0")
	count := 0
	visit := func(*Socket) bool { count++; return true }
	assert.Zero(t, testing.AllocsPerRun(20, func() { _ = c.TCP(AllStates, visit) }))
	assert.NotZero(t, count)
}

func BenchmarkDumpTCP(b *testing.B) {
	c := open(b)
	for range 100 {
		tcpPair(b, "tcp4", "127.0.0.1:0")
	}
	count := 0
	b.ReportAllocs()
	for b.Loop() {
		if err := c.TCP(AllStates, func(*Socket) bool { count++; return true }); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(count)/float64(b.N), "sockets/op")
}

func TestConnectedUDP(t *testing.T) {
	for _, f := range []struct{ network, address string }{{"udp4", "127.0.0.1:0"}, {"udp6", "[::1]:0"}} {
		t.Run(f.network, func(t *testing.T) {
			c := open(t)
			var lc net.ListenConfig
			server, err := lc.ListenPacket(t.Context(), f.network, f.address)
			if err != nil {
				t.Skipf("no %s on this host: %v", f.network, err)
			}
			t.Cleanup(func() { _ = server.Close() })
			var d net.Dialer
			client, err := d.DialContext(t.Context(), f.network, server.LocalAddr().String())
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close() })
			ino := inode(t, client.(*net.UDPConn))
			var target Socket
			require.NoError(t, c.UDP(AllStates, func(s *Socket) bool {
				if s.Inode == ino {
					target = *s
				}
				return true
			}))
			require.Equal(t, StateEstablished, target.State)

			got, err := c.Lookup(target.ID)
			require.NoError(t, err)
			assert.Equal(t, ino, got.Inode)

			wrong := target.ID
			wrong.Cookie++
			err = c.Destroy(wrong)
			skipUnlessSupported(t, err)
			require.ErrorIs(t, err, ErrNotFound)
			err = c.Destroy(target.ID)
			skipUnlessAllowed(t, err)
			require.NoError(t, err)
			_, err = client.Write([]byte("x"))
			require.Error(t, err)
		})
	}
}
