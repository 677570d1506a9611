// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// holderVariable makes the test binary a process that holds what it is told.
const holderVariable = "MEMGUARD_TEST_HOLDER"

var testPID = os.Getpid()

// hold reads one command a line and answers each with "ok" or an error.
func hold() {
	held := map[string][]io.Closer{}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		if err := command(held, words); err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println("ok")
	}
}

type rawFD int

func (fd rawFD) Close() error { return unix.Close(int(fd)) }

func command(held map[string][]io.Closer, words []string) error {
	name, count, args := words[0], 1, words[1:]
	if len(args) > 0 {
		count, _ = strconv.Atoi(args[0])
		args = args[1:]
	}
	if name == "close" {
		list := held[args[0]]
		for _, c := range list[:count] {
			_ = c.Close()
		}
		held[args[0]] = list[count:]
		return nil
	}
	for range count {
		made, err := makeOne(held, name, args)
		if err != nil {
			return err
		}
		held[name] = append(held[name], made...)
	}
	return nil
}

func makeOne(held map[string][]io.Closer, name string, args []string) ([]io.Closer, error) {
	one := func(fd int, err error) ([]io.Closer, error) { return []io.Closer{rawFD(fd)}, err }
	ctx := context.Background()
	switch name {
	case "file":
		f, err := os.CreateTemp(args[0], "f")
		return []io.Closer{f}, err
	case "pipe":
		r, w, err := os.Pipe()
		return []io.Closer{r, w}, err
	case "eventfd":
		return one(unix.Eventfd(0, unix.EFD_CLOEXEC))
	case "timerfd":
		return one(unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC))
	case "inotify":
		fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
		for _, path := range args {
			_, err = unix.InotifyAddWatch(fd, path, unix.IN_CREATE)
		}
		return one(fd, err)
	case "watch": // adds to the first inotify descriptor
		_, err := unix.InotifyAddWatch(int(held["inotify"][0].(rawFD)), args[0], unix.IN_CREATE)
		return nil, err
	case "send":
		_, err := held["dial"][0].(net.Conn).Write([]byte("x"))
		return nil, err
	case "socket":
		return one(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	case "dial":
		var d net.Dialer
		c, err := d.DialContext(ctx, args[0], args[1])
		return []io.Closer{c}, err
	case "listen":
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, args[0], args[1])
		return []io.Closer{l}, err
	case "udp":
		var lc net.ListenConfig
		c, err := lc.ListenPacket(ctx, "udp4", "127.0.0.1:0")
		return []io.Closer{c}, err
	case "exec":
		return nil, unix.Exec(args[0], args, os.Environ())
	default:
		return nil, fmt.Errorf("unknown command %q", name)
	}
}

// holder is a child that holds what it is told.
type holder struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startHolder(tb testing.TB) *holder {
	tb.Helper()
	return startHolderIn(tb, nil)
}

// startHolderIn starts a holder with attributes, such as a name space.
func startHolderIn(tb testing.TB, attributes *syscall.SysProcAttr) *holder {
	tb.Helper()
	self, err := os.Executable()
	require.NoError(tb, err)
	cmd := exec.CommandContext(context.Background(), self)
	cmd.Env = append(os.Environ(), holderVariable+"=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = attributes
	in, err := cmd.StdinPipe()
	require.NoError(tb, err)
	out, err := cmd.StdoutPipe()
	require.NoError(tb, err)
	if err := cmd.Start(); attributes != nil && errors.Is(err, unix.EPERM) {
		tb.Skip("needs CAP_SYS_ADMIN")
	} else {
		require.NoError(tb, err)
	}
	h := &holder{cmd: cmd, in: in, out: bufio.NewScanner(out)}
	tb.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return h
}

func (h *holder) pid() int { return h.cmd.Process.Pid }

func (h *holder) do(tb testing.TB, format string, args ...any) {
	tb.Helper()
	_, err := fmt.Fprintf(h.in, format+"\n", args...)
	require.NoError(tb, err)
	require.True(tb, h.out.Scan(), "the holder ended")
	require.Equal(tb, "ok", h.out.Text())
}

// tell is do for a command that does not answer.
func (h *holder) tell(tb testing.TB, line string) {
	tb.Helper()
	_, err := fmt.Fprintln(h.in, line)
	require.NoError(tb, err)
}

// openDescriptors is the truth by another way.
func openDescriptors(tb testing.TB, pid int) int {
	tb.Helper()
	entries, err := os.ReadDir(filepath.Join("/proc", strconv.Itoa(pid), "fd"))
	require.NoError(tb, err)
	return len(entries)
}

// siteCount returns the count of a kind at a site, 0 where there is none.
func siteCount(d *Detail, kind, name string) int64 {
	var n int64
	for _, s := range d.Sites {
		if string(s.Kind) == kind && s.Name == name {
			n += s.Count
		}
	}
	return n
}

func findSite(tb testing.TB, d *Detail, kind, name string) *Site {
	tb.Helper()
	var names []string
	for _, s := range d.Sites {
		if string(s.Kind) == kind && s.Name == name {
			return s
		}
		names = append(names, string(s.Kind)+" "+s.Name)
	}
	require.Failf(tb, "no such site", "%s %q among %q", kind, name, names)
	return nil
}

func total(d *Detail) int64 {
	var n int64
	for _, s := range d.Sites {
		n += s.Count
	}
	return n
}
