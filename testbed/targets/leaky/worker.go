// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// workers are child processes that inherited the leaked sockets, as a forked
// worker does: two processes then hold one open file description.
type workers struct {
	mu       sync.Mutex
	children []child
}

type child struct {
	command *exec.Cmd
	stdin   io.Closer
}

// shareWhenLeaked starts a worker once as many sockets leaked as --share-after
// asks for, and hands it all of them.
func (s *server) shareWhenLeaked(ctx context.Context) {
	if s.cfg.workers <= 0 {
		return
	}
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		leaked := s.ledger.keptOf(kindCloseWait)
		if len(leaked) < s.cfg.workers {
			continue
		}
		if err := s.workers.start(ctx, leaked); err != nil {
			os.Stderr.WriteString("start the worker: " + err.Error() + "\n") //nolint:errcheck // nowhere else to say it
		}
		return
	}
}

func (w *workers) start(ctx context.Context, leaked []io.Closer) error {
	files := make([]*os.File, 0, len(leaked))
	defer func() {
		for _, f := range files {
			f.Close()
		}
	}()
	for _, object := range leaked {
		p, ok := object.(proxied)
		if !ok {
			continue
		}
		raw, err := p.SyscallConn()
		if err != nil {
			return err
		}
		var fd int
		var dupErr error
		if err := raw.Control(func(own uintptr) { fd, dupErr = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
			return err
		}
		if dupErr != nil {
			return os.NewSyscallError("fcntl", dupErr)
		}
		files = append(files, os.NewFile(uintptr(fd), "shared"))
	}
	// The worker ends when its standard input does, so it never outlives us.
	command := exec.CommandContext(context.WithoutCancel(ctx), "/proc/self/exe", "worker")
	command.Args[0] = os.Args[0]
	command.ExtraFiles = files
	stdin, err := command.StdinPipe()
	if err != nil {
		return err
	}
	if err := command.Start(); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.children = append(w.children, child{command, stdin})
	return nil
}

func (w *workers) pids() []int {
	w.mu.Lock()
	defer w.mu.Unlock()
	pids := make([]int, 0, len(w.children))
	for _, c := range w.children {
		pids = append(pids, c.command.Process.Pid)
	}
	return pids
}

func (w *workers) stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.children {
		c.stdin.Close()
		c.command.Wait() //nolint:errcheck // it ends because its input ended
	}
	w.children = nil
}

// workAsWorker holds what it inherited until its standard input ends.
func workAsWorker() error {
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}
