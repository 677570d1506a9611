// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// proxied is the upstream half of a proxied connection.
type proxied struct{ *net.TCPConn }

// dialRaw connects as a raw proxy does: no keep-alive probes, which would move
// a socket out of CLOSE_WAIT once its peer's orphan is gone.
func dialRaw(ctx context.Context, address string) (*net.TCPConn, error) {
	dialer := net.Dialer{KeepAlive: -1, Timeout: 5 * time.Second}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("%s: not a TCP connection but %T", address, conn)
	}
	return tcp, nil
}

// openProxied asks an upstream that answers and closes. What is left is our
// own half: CLOSE_WAIT until it is closed.
func openProxied(address string) opener {
	return func(ctx context.Context) (io.Closer, error) {
		conn, err := dialRaw(ctx, address)
		if err != nil {
			return nil, err
		}
		conn.SetDeadline(time.Now().Add(5 * time.Second)) //nolint:errcheck // a dead socket fails in the next call
		if _, err = fmt.Fprintln(conn, "quote"); err == nil {
			_, err = io.Copy(io.Discard, conn)
		}
		if err != nil {
			hangUp(conn)
			return nil, err
		}
		conn.SetDeadline(time.Time{}) //nolint:errcheck // as above
		return proxied{conn}, nil
	}
}

// unreadBody is a response that the leaking code never reads nor closes.
type unreadBody struct{ body io.ReadCloser }

// Close does what the fixed code does: read to the end, then close, so that
// the connection goes back to the pool of the client.
func (u unreadBody) Close() error {
	io.Copy(io.Discard, u.body) //nolint:errcheck // the close below tells
	return u.body.Close()
}

func openUnread(client *http.Client, url string) opener {
	return func(ctx context.Context) (io.Closer, error) {
		// Not the context of the schedule: its end would close the body for us.
		request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, url, http.NoBody)
		if err != nil {
			return nil, err
		}
		response, err := client.Do(request)
		if err != nil {
			return nil, err
		}
		return unreadBody{response.Body}, nil
	}
}

// pool is a keep-alive pool: opened at start, then idle for as long as the
// process lives, as a database client's is by design. No leak is as idle.
type pool struct{ conns []*net.TCPConn }

func openPool(ctx context.Context, address string, size int) (*pool, error) {
	p := &pool{}
	for range size {
		conn, err := dialRaw(ctx, address)
		if err != nil {
			p.close()
			return nil, fmt.Errorf("fill the pool: %w", err)
		}
		p.conns = append(p.conns, conn)
	}
	return p, nil
}

// check makes one round trip on every connection and returns how many failed.
func (p *pool) check() (broken int, first error) {
	for i, conn := range p.conns {
		if err := roundTrip(conn, i); err != nil {
			broken++
			if first == nil {
				first = err
			}
		}
	}
	return broken, first
}

func roundTrip(conn *net.TCPConn, i int) error {
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	want := fmt.Sprintf("ping %d\n", i)
	if _, err := io.WriteString(conn, want); err != nil {
		return err
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return err
	}
	if got != want {
		return fmt.Errorf("sent %q, got %q", strings.TrimSpace(want), strings.TrimSpace(got))
	}
	return nil
}

func (p *pool) close() {
	for _, conn := range p.conns {
		hangUp(conn)
	}
}

// hangUp closes a connection of which nobody wants to know how it ended.
func hangUp(c io.Closer) { c.Close() }

// socketTruth is what the owner itself sees of a socket.
type socketTruth struct {
	FD     int    `json:"fd"`
	Inode  uint64 `json:"inode"`
	Local  string `json:"local"`
	Remote string `json:"remote"`
	State  string `json:"state"`
}

var tcpStates = [...]string{
	"unknown", "established", "syn_sent", "syn_received", "fin_wait_1", "fin_wait_2", "time_wait", "close",
	"close_wait", "last_ack", "listen", "closing",
}

func describe(conn *net.TCPConn) socketTruth {
	t := socketTruth{Local: conn.LocalAddr().String(), Remote: conn.RemoteAddr().String(), State: "closed_descriptor"}
	raw, err := conn.SyscallConn()
	if err != nil {
		return t
	}
	raw.Control(func(fd uintptr) { //nolint:errcheck // a closed descriptor leaves the state as it is
		t.FD = int(fd)
		var st unix.Stat_t
		if unix.Fstat(t.FD, &st) == nil {
			t.Inode = st.Ino
		}
		info, err := unix.GetsockoptTCPInfo(t.FD, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && int(info.State) < len(tcpStates) {
			t.State = tcpStates[info.State]
		}
	})
	return t
}
