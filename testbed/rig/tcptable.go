// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
)

// TCPEntry is one line of /proc/net/tcp (Documentation/networking/proc_net_tcp.rst).
type TCPEntry struct {
	Local  netip.AddrPort
	Remote netip.AddrPort
	State  uint8 // TCP_ESTABLISHED 1 … TCP_CLOSE_WAIT 8, include/net/tcp_states.h
	Inode  uint64
}

// States of the kernel's table that the testbed names.
const (
	TCPEstablished = 1
	TCPClose       = 7
	TCPCloseWait   = 8
	TCPLastAck     = 9
)

// TCPTable reads the kernel's table of our network name space: the demo's own
// eyes, which share no code with the collector.
func TCPTable() ([]TCPEntry, error) {
	var all []TCPEntry
	for _, path := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		text, err := os.ReadFile(path)
		if err != nil {
			if os.IsNotExist(err) && path == "/proc/net/tcp6" {
				continue
			}
			return nil, err
		}
		entries, err := parseTCPTable(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, entries...)
	}
	return all, nil
}

func parseTCPTable(text []byte) ([]TCPEntry, error) {
	var out []TCPEntry
	for i, line := range bytes.Split(text, []byte("\n")) {
		fields := bytes.Fields(line)
		if i == 0 || len(fields) == 0 {
			continue
		}
		if len(fields) < 10 {
			return nil, fmt.Errorf("line %d has %d fields", i+1, len(fields))
		}
		local, err := parseAddrPort(string(fields[1]))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		remote, err := parseAddrPort(string(fields[2]))
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+1, err)
		}
		state, err := strconv.ParseUint(string(fields[3]), 16, 8)
		if err != nil {
			return nil, fmt.Errorf("line %d: state: %w", i+1, err)
		}
		inode, err := strconv.ParseUint(string(fields[9]), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %d: inode: %w", i+1, err)
		}
		out = append(out, TCPEntry{Local: local, Remote: remote, State: uint8(state), Inode: inode})
	}
	return out, nil
}

// parseAddrPort reads an address as the kernel prints it: 32-bit words in host
// byte order, a colon, the port.
func parseAddrPort(text string) (netip.AddrPort, error) {
	addrText, portText, found := bytes.Cut([]byte(text), []byte(":"))
	raw, err := hex.DecodeString(string(addrText))
	if err != nil || !found || (len(raw) != 4 && len(raw) != 16) {
		return netip.AddrPort{}, fmt.Errorf("address %.60q", text)
	}
	port, err := strconv.ParseUint(string(portText), 16, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port of %.60q: %w", text, err)
	}
	for word := 0; word < len(raw); word += 4 {
		binary.NativeEndian.PutUint32(raw[word:], binary.BigEndian.Uint32(raw[word:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("address %.60q", text)
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(port)), nil
}
