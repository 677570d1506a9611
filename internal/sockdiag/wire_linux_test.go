// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// inetMessage builds the body that the kernel would send for s.
func inetMessage(s *Socket, attrs ...[]byte) []byte {
	body := []byte{s.Family, s.State, 0, 0}
	request := appendInetRequest(nil, &s.ID, 0, 0, false)
	body = append(body, request[8:]...)
	body = native.AppendUint32(body, 0)
	body = native.AppendUint32(body, s.RecvQueue)
	body = native.AppendUint32(body, s.SendQueue)
	body = native.AppendUint32(body, s.UID)
	body = native.AppendUint32(body, s.Inode)
	return append(body, bytes.Join(attrs, nil)...)
}

func attr(typ uint16, value []byte) []byte {
	b := native.AppendUint16(nil, uint16(4+len(value)))
	b = native.AppendUint16(b, typ)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func packet(typ, flags uint16, seq uint32, body []byte) []byte {
	b := append(appendHeader(nil, len(body), typ, flags, seq), body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func testSocket() Socket {
	return Socket{
		ID: ID{
			Family: FamilyIPv4, Protocol: ProtocolTCP, Cookie: 0x1_0000_0002, Interface: 3,
			Local: netip.MustParseAddrPort("127.0.0.1:80"), Remote: netip.MustParseAddrPort("10.1.2.3:4567"),
		},
		State: StateCloseWait, UID: 1000, Inode: 77, RecvQueue: 5, SendQueue: 6,
	}
}

func TestParseInetRoundTrip(t *testing.T) {
	t.Parallel()
	want := testSocket()
	info := make([]byte, 256)
	native.PutUint32(info[infoLastSent:], 1500)
	native.PutUint32(info[infoLastRecv:], 2500)
	native.PutUint32(info[infoLastAck:], 3500)
	native.PutUint64(info[infoAcked:], 1)
	native.PutUint64(info[infoReceived:], 2)
	native.PutUint64(info[infoSent:], 3)
	for _, tt := range []struct {
		name string
		info []byte
		sent uint64
	}{
		{"new kernel", info, 3},
		{"without bytes_sent", info[:infoSent], 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			expected := want
			expected.HasInfo = true
			expected.LastDataSent, expected.LastDataRecv, expected.LastAckRecv = 1500*time.Millisecond, 2500*time.Millisecond, 3500*time.Millisecond
			expected.BytesAcked, expected.BytesReceived, expected.BytesSent = 1, 2, tt.sent
			var got Socket
			require.NoError(t, parseInet(inetMessage(&want, attr(9, []byte("x")), attr(inetAttrInfo, tt.info)), ProtocolTCP, &got))
			assert.Equal(t, expected, got)
		})
	}
	t.Run("too short for times", func(t *testing.T) {
		t.Parallel()
		var got Socket
		require.NoError(t, parseInet(inetMessage(&want, attr(inetAttrInfo, info[:infoMinimum-1])), ProtocolTCP, &got))
		assert.Equal(t, want, got)
	})
}

func TestAnswer(t *testing.T) {
	t.Parallel()
	s := testSocket()
	body := inetMessage(&s)
	failure := native.AppendUint32(nil, ^uint32(1)) // -ENOENT
	for _, tt := range []struct {
		name        string
		datagram    []byte
		dump        bool
		done        bool
		interrupted bool
		calls       int
		err         error
	}{
		{"dump goes on", packet(typeByFamily, 0, 7, body), true, false, false, 1, nil},
		{"dump ends", append(packet(typeByFamily, 0, 7, body), packet(msgDone, 0, 7, make([]byte, 4))...), true, true, false, 1, nil},
		{"dump interrupted", packet(msgDone, flagDumpIntr, 7, make([]byte, 4)), true, true, true, 0, nil},
		{"bare end", packet(msgDone, 0, 7, nil), true, true, false, 0, nil},
		{"one answer", packet(typeByFamily, 0, 7, body), false, true, false, 1, nil},
		{"older request", packet(typeByFamily, 0, 6, body), false, false, false, 0, nil},
		{"acknowledged", packet(msgError, 0, 7, make([]byte, 4)), false, true, false, 0, nil},
		{"not found", packet(msgError, 0, 7, failure), false, true, false, 0, ErrNotFound},
		{"short error", packet(msgError, 0, 7, failure[:2]), false, false, false, 0, ErrMalformed},
		{"absurd error", packet(msgError, 0, 7, []byte{1, 2, 3, 4}), false, false, false, 0, ErrMalformed},
		{"cut short", packet(typeByFamily, 0, 7, body)[:40], true, false, false, 0, ErrMalformed},
		{"body cut short", packet(typeByFamily, 0, 7, body[:20]), true, false, false, 1, ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			calls, interrupted := 0, false
			var got Socket
			done, err := answer(tt.datagram, 7, tt.dump, &interrupted, func(b []byte) error {
				calls++
				return parseInet(b, ProtocolTCP, &got)
			})
			assert.Equal(t, tt.done, done)
			assert.Equal(t, tt.calls, calls)
			assert.Equal(t, tt.interrupted, interrupted)
			require.ErrorIs(t, err, tt.err)
		})
	}
}

func TestIDCheck(t *testing.T) {
	t.Parallel()
	base := testSocket().ID
	for _, tt := range []struct {
		name   string
		change func(*ID)
		err    error
	}{
		{"good", func(*ID) {}, nil},
		{"no cookie", func(id *ID) { id.Cookie = 0 }, ErrNoCookie},
		{"wildcard", func(id *ID) { id.Cookie = noCookie }, ErrNoCookie},
		{"protocol", func(id *ID) { id.Protocol = 1 }, ErrInvalidID},
		{"family", func(id *ID) { id.Family = 1 }, ErrInvalidID},
		{"mixed", func(id *ID) { id.Remote = netip.MustParseAddrPort("[::1]:1") }, ErrInvalidID},
		{"no address", func(id *ID) { id.Local = netip.AddrPort{} }, ErrInvalidID},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			id := base
			tt.change(&id)
			require.ErrorIs(t, id.check(), tt.err)
		})
	}
}

func TestStateName(t *testing.T) {
	t.Parallel()
	for state := StateEstablished; state <= StateBoundInactive; state++ {
		assert.NotEmpty(t, StateName(state), state)
		assert.NotZero(t, AllStates&StateMask(state))
	}
	assert.Empty(t, StateName(0))
	assert.Zero(t, StateMask(200))
}

func FuzzAnswer(f *testing.F) {
	s := testSocket()
	f.Add(packet(typeByFamily, 0, 7, inetMessage(&s, attr(inetAttrInfo, make([]byte, 240)))))
	f.Add(packet(msgError, 0, 7, make([]byte, 20)))
	f.Add(packet(msgDone, flagDumpIntr, 7, nil))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		for _, dump := range []bool{true, false} {
			var interrupted bool
			var inet Socket
			var local UnixSocket
			_, _ = answer(datagram, 7, dump, &interrupted, func(b []byte) error { return parseInet(b, ProtocolTCP, &inet) })
			_, _ = answer(datagram, 7, dump, &interrupted, func(b []byte) error { return parseUnix(b, &local) })
			if len(local.Name) > maxUnixName {
				t.Fatalf("name of %d bytes", len(local.Name))
			}
		}
	})
}
