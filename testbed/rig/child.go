// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

// Spec says what to start.
type Spec struct {
	Name  string   // for messages and the log file
	Path  string   // the executable
	Args  []string // without the program name
	Env   []string // added to ours
	Dir   string   // where the log file goes
	Ready bool     // the program prints a line of JSON once it serves
	// Attr may run the child as another user or in another name space.
	Attr *syscall.SysProcAttr
}

// Child is a process that we started. Only such are ever signalled, by the
// handle that os/exec keeps (a pidfd), so never a stranger with a reused pid.
type Child struct {
	Name    string
	PID     int
	LogPath string

	command *exec.Cmd
	log     *os.File
	ended   chan struct{}
	err     error // valid once ended is closed
	once    sync.Once
}

// Announcement is the first line that a target prints.
type Announcement struct {
	Ready   bool   `json:"ready"`
	Name    string `json:"name"`
	PID     int    `json:"pid"`
	HTTP    string `json:"http"`
	Closing string `json:"closing"`
	Pool    string `json:"pool"`
}

const readyTimeout = 20 * time.Second

// Start starts a process and, where it announces itself, waits for that.
func Start(ctx context.Context, spec Spec) (*Child, Announcement, error) {
	var hello Announcement
	logPath := filepath.Join(spec.Dir, spec.Name+".log")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, hello, err
	}
	// Not CommandContext: the child ends when Stop says so, in good order.
	command := exec.Command(spec.Path, spec.Args...) //nolint:noctx // see above
	command.Env = append(os.Environ(), spec.Env...)
	command.Stderr = log
	command.SysProcAttr = spec.Attr
	var out io.ReadCloser
	if spec.Ready {
		out, err = command.StdoutPipe()
	} else {
		command.Stdout = log
	}
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		log.Close()
		return nil, hello, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	c := &Child{
		Name: spec.Name, PID: command.Process.Pid, LogPath: logPath,
		command: command, log: log, ended: make(chan struct{}),
	}
	lines := make(chan []byte, 1)
	go c.reap(out, lines)
	if !spec.Ready {
		return c, hello, nil
	}
	return c, hello, c.awaitReady(ctx, lines, &hello)
}

func (c *Child) awaitReady(ctx context.Context, lines <-chan []byte, hello *Announcement) error {
	fail := func(cause error) error {
		c.Kill()
		return fmt.Errorf("%s did not become ready: %w; its log:\n%s", c.Name, cause, c.Tail(2000))
	}
	select {
	case line := <-lines:
		if err := json.Unmarshal(line, hello); err != nil || !hello.Ready {
			return fail(fmt.Errorf("first line %q: %w", line, errors.Join(err)))
		}
		return nil
	case <-c.ended:
		return fail(fmt.Errorf("it ended: %w", errors.Join(c.err)))
	case <-time.After(readyTimeout):
		return fail(fmt.Errorf("nothing within %v", readyTimeout))
	case <-ctx.Done():
		return fail(ctx.Err())
	}
}

// reap hands on the first line, drains the rest into the log, and waits.
func (c *Child) reap(out io.Reader, lines chan<- []byte) {
	defer close(c.ended)
	if out != nil {
		reader := bufio.NewReaderSize(out, 1<<16)
		if line, err := reader.ReadBytes('\n'); err == nil {
			lines <- line
		}
		io.Copy(c.log, reader) //nolint:errcheck // the child's output is a courtesy
	}
	c.err = c.command.Wait()
	c.log.Close()
}

// Ended is closed once the process has been waited for.
func (c *Child) Ended() <-chan struct{} { return c.ended }

// Alive reports whether the process has not been waited for yet.
func (c *Child) Alive() bool {
	select {
	case <-c.ended:
		return false
	default:
		return true
	}
}

// Exit returns how the process ended, nil for status 0. It waits for the end.
func (c *Child) Exit() error {
	<-c.ended
	return c.err
}

// Stop asks with SIGTERM and insists with SIGKILL after grace.
func (c *Child) Stop(grace time.Duration) error {
	c.once.Do(func() {
		c.command.Process.Signal(syscall.SIGTERM) //nolint:errcheck // it may have ended
		select {
		case <-c.ended:
		case <-time.After(grace):
			c.Kill()
		}
	})
	return c.Exit()
}

// Signal sends one signal.
func (c *Child) Signal(s os.Signal) error { return c.command.Process.Signal(s) }

// Kill ends the process at once and waits for it.
func (c *Child) Kill() {
	c.command.Process.Kill() //nolint:errcheck // it may have ended
	<-c.ended
}

// Log returns what the process wrote so far, to standard error and where it
// does not announce itself to standard output.
func (c *Child) Log() string {
	text, err := os.ReadFile(c.LogPath)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Tail returns the last n bytes of the log.
func (c *Child) Tail(n int) string {
	text := c.Log()
	return text[max(0, len(text)-n):]
}
