// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package sockdiag

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"
)

// Sizes and numbers of the wire (include/uapi/linux: netlink.h, sock_diag.h,
// inet_diag.h, unix_diag.h, tcp.h). Fixed for all architectures, but for the
// byte order, which is the machine's.
const (
	headerSize      = 16
	inetRequestSize = 56
	inetMessageSize = 72
	unixRequestSize = 24
	unixMessageSize = 16
	attrHeaderSize  = 4

	msgDone  = 3
	msgError = 2

	flagRequest  = 0x1
	flagAck      = 0x4
	flagDumpIntr = 0x10
	flagDump     = 0x300
	typeByFamily = 20
	typeDestroy  = 21
	extTCPInfo   = 1 << (inetAttrInfo - 1)
	inetAttrInfo = 2
	unixAttrName = 0
	unixAttrPeer = 2
	unixShowName = 1
	unixShowPeer = 4
	attrTypeMask = 0x3fff
	familyUnix   = 1
	maxUnixName  = 108
	infoLastSent = 44
	infoLastRecv = 52
	infoLastAck  = 56
	infoAcked    = 120
	infoReceived = 128
	infoSent     = 200
	infoMinimum  = infoLastAck + 4
)

var native = binary.NativeEndian

// message is one netlink message; body aliases the receive buffer.
type message struct {
	typ, flags uint16
	seq        uint32
	body       []byte
}

// next splits the first message off a received datagram.
func next(datagram []byte) (m message, rest []byte, err error) {
	if len(datagram) < headerSize {
		return m, nil, fmt.Errorf("%w: %d bytes where a header belongs", ErrMalformed, len(datagram))
	}
	length := native.Uint32(datagram)
	if length < headerSize || uint64(length) > uint64(len(datagram)) {
		return m, nil, fmt.Errorf("%w: length %d of %d bytes", ErrMalformed, length, len(datagram))
	}
	m = message{
		typ:   native.Uint16(datagram[4:]),
		flags: native.Uint16(datagram[6:]),
		seq:   native.Uint32(datagram[8:]),
		body:  datagram[headerSize:length],
	}
	aligned := min((int(length)+3)&^3, len(datagram))
	return m, datagram[aligned:], nil
}

// errno reads the error number of an NLMSG_ERROR or NLMSG_DONE body: 0 for an
// acknowledgement or a plain end.
func (m *message) errno() (int32, error) {
	if len(m.body) < 4 {
		if m.typ == msgDone {
			return 0, nil
		}
		return 0, fmt.Errorf("%w: error message of %d bytes", ErrMalformed, len(m.body))
	}
	code := int32(native.Uint32(m.body))
	if code > 0 || code < -4095 {
		return 0, fmt.Errorf("%w: error number %d", ErrMalformed, code)
	}
	return -code, nil
}

// parseInet reads a struct inet_diag_msg with its attributes into s.
func parseInet(body []byte, protocol uint8, s *Socket) error {
	if len(body) < inetMessageSize {
		return fmt.Errorf("%w: %d bytes of an inet socket", ErrMalformed, len(body))
	}
	*s = Socket{
		ID:        ID{Family: body[0], Protocol: protocol},
		State:     body[1],
		RecvQueue: native.Uint32(body[56:]),
		SendQueue: native.Uint32(body[60:]),
		UID:       native.Uint32(body[64:]),
		Inode:     native.Uint32(body[68:]),
	}
	if err := parseID(body[4:52], &s.ID); err != nil {
		return err
	}
	return eachAttr(body[inetMessageSize:], func(typ uint16, value []byte) {
		if typ == inetAttrInfo {
			parseInfo(value, s)
		}
	})
}

func parseID(b []byte, id *ID) error {
	var local, remote netip.Addr
	switch id.Family {
	case FamilyIPv4:
		local, remote = netip.AddrFrom4([4]byte(b[4:8])), netip.AddrFrom4([4]byte(b[20:24]))
	case FamilyIPv6:
		local, remote = netip.AddrFrom16([16]byte(b[4:20])), netip.AddrFrom16([16]byte(b[20:36]))
	default:
		return fmt.Errorf("%w: address family %d", ErrMalformed, id.Family)
	}
	id.Local = netip.AddrPortFrom(local, binary.BigEndian.Uint16(b))
	id.Remote = netip.AddrPortFrom(remote, binary.BigEndian.Uint16(b[2:]))
	id.Interface = native.Uint32(b[36:])
	id.Cookie = uint64(native.Uint32(b[40:])) | uint64(native.Uint32(b[44:]))<<32
	return nil
}

// parseInfo reads struct tcp_info, of which older kernels send a shorter one.
func parseInfo(b []byte, s *Socket) {
	if len(b) < infoMinimum {
		return
	}
	s.HasInfo = true
	s.LastDataSent = milliseconds(b[infoLastSent:])
	s.LastDataRecv = milliseconds(b[infoLastRecv:])
	s.LastAckRecv = milliseconds(b[infoLastAck:])
	s.BytesAcked = uint64At(b, infoAcked)
	s.BytesReceived = uint64At(b, infoReceived)
	s.BytesSent = uint64At(b, infoSent)
}

func milliseconds(b []byte) time.Duration {
	return time.Duration(native.Uint32(b)) * time.Millisecond
}

func uint64At(b []byte, at int) uint64 {
	if len(b) < at+8 {
		return 0
	}
	return native.Uint64(b[at:])
}

// parseUnix reads a struct unix_diag_msg with its attributes into s. The name
// aliases body.
func parseUnix(body []byte, s *UnixSocket) error {
	if len(body) < unixMessageSize {
		return fmt.Errorf("%w: %d bytes of a unix socket", ErrMalformed, len(body))
	}
	*s = UnixSocket{
		Type:   body[1],
		State:  body[2],
		Inode:  native.Uint32(body[4:]),
		Cookie: uint64(native.Uint32(body[8:])) | uint64(native.Uint32(body[12:]))<<32,
	}
	return eachAttr(body[unixMessageSize:], func(typ uint16, value []byte) {
		switch {
		case typ == unixAttrName:
			s.Name = unixName(value)
		case typ == unixAttrPeer && len(value) >= 4:
			s.Peer = native.Uint32(value)
		}
	})
}

// unixName ends a path at its zero byte; an abstract name begins with one and
// is as long as the kernel says (man 7 unix).
func unixName(b []byte) []byte {
	b = b[:min(len(b), maxUnixName)]
	if end := bytes.IndexByte(b, 0); end > 0 {
		return b[:end]
	}
	return b
}

// eachAttr walks netlink attributes.
func eachAttr(b []byte, fn func(typ uint16, value []byte)) error {
	for len(b) >= attrHeaderSize {
		length := int(native.Uint16(b))
		if length < attrHeaderSize || length > len(b) {
			return fmt.Errorf("%w: attribute length %d of %d bytes", ErrMalformed, length, len(b))
		}
		fn(native.Uint16(b[2:])&attrTypeMask, b[attrHeaderSize:length])
		b = b[min((length+3)&^3, len(b)):]
	}
	return nil
}

func appendHeader(b []byte, size int, typ, flags uint16, seq uint32) []byte {
	b = native.AppendUint32(b, uint32(headerSize+size))
	b = native.AppendUint16(b, typ)
	b = native.AppendUint16(b, flags)
	b = native.AppendUint32(b, seq)
	return native.AppendUint32(b, 0) // port id: ours is known to the kernel
}

// appendInetRequest appends a struct inet_diag_req_v2.
func appendInetRequest(b []byte, id *ID, states uint32, ext uint8, swapped bool) []byte {
	b = append(b, id.Family, id.Protocol, ext, 0)
	b = native.AppendUint32(b, states)
	local, remote := id.Local, id.Remote
	if swapped {
		local, remote = remote, local
	}
	b = binary.BigEndian.AppendUint16(b, local.Port())
	b = binary.BigEndian.AppendUint16(b, remote.Port())
	b = appendAddr(b, local.Addr(), id.Family)
	b = appendAddr(b, remote.Addr(), id.Family)
	b = native.AppendUint32(b, id.Interface)
	b = native.AppendUint32(b, uint32(id.Cookie))
	return native.AppendUint32(b, uint32(id.Cookie>>32))
}

func appendAddr(b []byte, addr netip.Addr, family uint8) []byte {
	var raw [16]byte
	switch {
	case !addr.IsValid():
	case family == FamilyIPv4:
		four := addr.As4()
		copy(raw[:], four[:])
	default:
		raw = addr.As16()
	}
	return append(b, raw[:]...)
}

// appendUnixRequest appends a struct unix_diag_req for a dump.
func appendUnixRequest(b []byte) []byte {
	b = append(b, familyUnix, 0, 0, 0)
	b = native.AppendUint32(b, AllStates)
	b = native.AppendUint32(b, 0)
	b = native.AppendUint32(b, unixShowName|unixShowPeer)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0)
}

// check refuses an ID that cannot be one of a single socket.
func (id *ID) check() error {
	if id.Cookie == 0 || id.Cookie == noCookie {
		return ErrNoCookie
	}
	if id.Protocol != ProtocolTCP && id.Protocol != ProtocolUDP {
		return fmt.Errorf("%w: protocol %d", ErrInvalidID, id.Protocol)
	}
	local, remote := id.Local.Addr(), id.Remote.Addr()
	switch id.Family {
	case FamilyIPv4:
		if local.Is4() && (!remote.IsValid() || remote.Is4()) {
			return nil
		}
	case FamilyIPv6:
		if local.Is6() && (!remote.IsValid() || remote.Is6()) {
			return nil
		}
	}
	return fmt.Errorf("%w: family %d with addresses %v and %v", ErrInvalidID, id.Family, id.Local, id.Remote)
}
