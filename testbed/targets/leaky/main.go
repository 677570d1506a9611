// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := newCommand().ExecuteContext(ctx)
	stop()
	if err != nil {
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	cfg := config{leaks: plan{}, uses: plan{}}
	command := &cobra.Command{
		Use:   "leaky",
		Short: "An HTTP server that does useful work and leaks what it is told to",
		Long: `An HTTP server that does useful work and leaks what it is told to.

--leak and --use take kind=RATE/s or kind=RATE/s:LIMIT, several parted by
commas. Kinds: close_wait, unread, file, goroutine, inotify, timer, cache.
--leak keeps what it opens (--fixed closes it), --use closes it after --hold.

It serves /work, /healthz, /truth (what it holds, as its owner knows it) and
/pool/check (a round trip on every pool connection). Once it serves, it prints
one line of JSON with its pid and address. SIGTERM ends it in good order.

It calls prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY): under Yama (ptrace_scope 1)
any process of the same user may then read its descriptors and copy one, which
is what a repair without root needs. A server of your own would allow just the
collector, or nobody.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: false,
		RunE:          func(command *cobra.Command, _ []string) error { return serve(command.Context(), cfg) },
	}
	flags := command.Flags()
	flags.StringVar(&cfg.listen, "listen", "127.0.0.1:0", "address to serve on")
	flags.StringVar(&cfg.upstream, "upstream", "", "address of the HTTP upstream")
	flags.StringVar(&cfg.closing, "closing-upstream", "", "address of the upstream that answers and closes")
	flags.StringVar(&cfg.poolServer, "pool-upstream", "", "address of the upstream of the keep-alive pool")
	flags.IntVar(&cfg.poolSize, "pool", 16, "connections of the keep-alive pool, opened at start and never used")
	flags.StringVar(&cfg.dir, "dir", "", "directory for its files (default: a new one, removed at the end)")
	flags.Var(cfg.leaks, "leak", "what to leak and how fast")
	flags.Var(cfg.uses, "use", "what to open and close properly, and how often")
	flags.DurationVar(&cfg.hold, "hold", 200*time.Millisecond, "how long honest work holds an object, on average")
	flags.IntVar(&cfg.maxKept, "max-kept", 12_000, "most objects to leak of one kind")
	flags.IntVar(&cfg.workers, "share-after", 0, "once so many sockets leaked, start a worker process that inherits them (0: never)")
	flags.BoolVar(&cfg.fixed, "fixed", false, "be the fixed twin: the same work, everything closed")
	for _, name := range []string{"upstream", "closing-upstream", "pool-upstream"} {
		cobra.CheckErr(command.MarkFlagRequired(name))
	}
	command.AddCommand(&cobra.Command{
		Use: "worker", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return workAsWorker() },
	})
	return command
}

func serve(ctx context.Context, cfg config) error {
	if err := allowTracers(); err != nil {
		return err
	}
	if cfg.dir == "" {
		dir, err := os.MkdirTemp("", "leaky-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(dir) //nolint:errcheck // a leftover in the temporary directory
		cfg.dir = dir
	}
	s, err := newServer(ctx, cfg)
	if err != nil {
		return err
	}
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", cfg.listen)
	if err != nil {
		return err
	}
	if err := announce(listener); err != nil {
		return err
	}
	return s.serve(ctx, listener)
}

func announce(listener net.Listener) error {
	line, err := json.Marshal(map[string]any{
		"ready": true, "name": filepath.Base(os.Args[0]), "pid": os.Getpid(), "http": listener.Addr().String(),
	})
	if err != nil {
		return err
	}
	_, err = fmt.Println(string(line))
	return err
}

// allowTracers lets processes of the same user copy our descriptors under
// Yama. A kernel without Yama answers EINVAL: there nothing needs allowing.
func allowTracers() error {
	const anyProcess = ^uintptr(0) // PR_SET_PTRACER_ANY, include/uapi/linux/prctl.h
	err := unix.Prctl(unix.PR_SET_PTRACER, anyProcess, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return os.NewSyscallError("prctl", err)
	}
	return nil
}
