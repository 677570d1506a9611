// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/procid"
)

func init() {
	helpers["victim"] = victimMain
	helpers["sleeper"] = func() { _, _ = io.Copy(io.Discard, os.Stdin) }
}

// order is one line to a victim, and its answer.
type order struct {
	Do    string `json:"do"`
	Port  int    `json:"port,omitempty"`
	Count int    `json:"count,omitempty"`
	FD    int    `json:"fd,omitempty"`
	FDs   []int  `json:"fds,omitempty"`
	PID   int    `json:"pid,omitempty"`
	Error string `json:"error,omitempty"`
}

// moreOrders are orders that only some tests know.
var moreOrders = map[string]func(o *order) error{}

// victimMain is a program that leaks on order. It uses bare descriptors: the
// net package would hold a second one wherever it hands one out.
func victimMain() {
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	var children []*exec.Cmd
	for in.Scan() {
		var o order
		if err := json.Unmarshal(in.Bytes(), &o); err != nil {
			o.Error = err.Error()
			_ = out.Encode(o)
			continue
		}
		var err error
		switch o.Do {
		case "connect":
			for range o.Count {
				var fd int
				if fd, err = dial(o.Port); err != nil {
					break
				}
				o.FDs = append(o.FDs, fd)
			}
		case "write":
			_, err = unix.Write(o.FD, []byte("x"))
		case "close":
			err = unix.Close(o.FD)
		case "bound":
			var fd int
			fd, err = dialThrough("lo", o.Port)
			o.FDs = append(o.FDs, fd)
		case "dup":
			o.FD, err = unix.Dup(o.FD)
		case "tls":
			err = unix.SetsockoptString(o.FD, unix.IPPROTO_TCP, unix.TCP_ULP, "tls")
		case "listen":
			o.FD, o.Port, err = listen()
		case "fork":
			// The file must outlive this function: its finalizer would close.
			inherited := os.NewFile(uintptr(o.FD), "shared")
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), "REMEDY_TEST_HELPER=sleeper")
			cmd.ExtraFiles = []*os.File{inherited}
			_, _ = cmd.StdinPipe()
			if err = cmd.Start(); err == nil {
				children = append(children, cmd)
				kept = append(kept, inherited)
				o.PID = cmd.Process.Pid
			}
		default:
			if fn := moreOrders[o.Do]; fn != nil {
				err = fn(&o)
			}
		}
		if err != nil {
			o.Error = err.Error()
		}
		_ = out.Encode(o)
	}
	for _, cmd := range children {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}

var kept []*os.File

func dial(port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

// dialThrough connects a socket that is bound to an interface.
func dialThrough(name string, port int) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	if err := unix.SetsockoptString(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name); err != nil {
		return 0, err
	}
	return fd, unix.Connect(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
}

func closeFD(t *testing.T, fd int) {
	t.Helper()
	require.NoError(t, unix.Close(fd))
}

func listen() (int, int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, 0, err
	}
	if err := unix.Listen(fd, 16); err != nil {
		return 0, 0, err
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return 0, 0, err
	}
	return fd, name.(*unix.SockaddrInet4).Port, nil
}

// victim is a running one.
type victim struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	pid int32
}

func startVictim(t *testing.T) *victim {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "REMEDY_TEST_HELPER=victim")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	v := &victim{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out), pid: int32(cmd.Process.Pid)}
	t.Cleanup(v.end)
	v.do(order{Do: "hello"})
	return v
}

func (v *victim) end() {
	_ = v.in.Close()
	_ = v.cmd.Process.Kill()
	_ = v.cmd.Wait()
}

func (v *victim) do(o order) order {
	v.t.Helper()
	answer := v.try(o)
	require.Empty(v.t, answer.Error)
	return answer
}

// try is do for what may fail.
func (v *victim) try(o order) order {
	v.t.Helper()
	line, err := json.Marshal(o)
	require.NoError(v.t, err)
	_, err = v.in.Write(append(line, '\n'))
	require.NoError(v.t, err)
	require.True(v.t, v.out.Scan(), "the victim has ended")
	var answer order
	require.NoError(v.t, json.Unmarshal(v.out.Bytes(), &answer))
	return answer
}

// leak leaves the victim with count connections that the other end closed.
func (v *victim) leak(u *upstream, count int) []int {
	v.t.Helper()
	fds := v.do(order{Do: "connect", Port: u.port(), Count: count}).FDs
	for range count {
		require.NoError(v.t, (<-u.conns).Close())
	}
	v.awaitStates(u, "08", count)
	return fds
}

// awaitStates waits until /proc/net/tcp shows count sockets in a state with
// the upstream as their remote end: a look of its own, not that of the engine.
func (v *victim) awaitStates(u *upstream, state string, count int) {
	v.t.Helper()
	require.Eventually(v.t, func() bool { return u.countStates(v.t, state) == count }, 5*time.Second, 5*time.Millisecond)
}

// upstream accepts connections and hands them over.
type upstream struct {
	listener net.Listener
	conns    chan net.Conn
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	u := &upstream{listener: listener, conns: make(chan net.Conn, 1024)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			u.conns <- conn
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
		for {
			select {
			case c := <-u.conns:
				_ = c.Close()
			default:
				return
			}
		}
	})
	return u
}

func (u *upstream) port() int { return u.listener.Addr().(*net.TCPAddr).Port }

func (u *upstream) site() string {
	return netip.MustParseAddrPort(u.listener.Addr().String()).String()
}

func (u *upstream) countStates(t *testing.T, state string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/tcp")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) > 3 && f[2] == fmt.Sprintf("0100007F:%04X", u.port()) && f[3] == state {
			n++
		}
	}
	return n
}

// finding is a confirmed leak of the victim's sockets to the upstream.
func (v *victim) finding(u *upstream) leak.Finding {
	v.t.Helper()
	hostID, err := procid.HostID("/")
	require.NoError(v.t, err)
	bootID, err := procid.BootID("/proc")
	require.NoError(v.t, err)
	id, err := procid.Read("/proc", hostID, bootID, v.pid)
	require.NoError(v.t, err)
	f := leak.NewFinding()
	f.ID = fmt.Sprintf("finding-%d-%d", v.pid, u.port())
	f.Kind, f.Site, f.Source, f.Basis, f.Role = leak.KindSocket, u.site(), leak.MetricSocketAbandoned, leak.BasisProof, leak.RolePrimary
	f.State, f.Previous, f.Since, f.Time, f.Interval = leak.StateConfirmed, leak.StateLikely, time.Now(), time.Now(), 10*time.Second
	f.Process = leak.Process{
		HostID: hostID, BootID: bootID, InstanceID: id.InstanceID(), PID: v.pid,
		CreationTime: time.Now(), ExecutableName: "remedy.test",
	}
	f.Provenance = &leak.Provenance{HostID: hostID, BootID: bootID, Receiver: "memguard", OwnPIDs: true}
	return f
}
