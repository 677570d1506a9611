// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	collector string
	config    string
	targets   string
	duration  time.Duration
	keep      bool
}

func main() {
	opts, err := parse(os.Args[1:])
	if err != nil {
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	code := run(ctx, opts)
	stop()
	os.Exit(code)
}

func parse(args []string) (options, error) {
	var opts options
	flags := flag.NewFlagSet("demo", flag.ContinueOnError)
	flags.StringVar(&opts.collector, "collector", "bin/otelcol-memguard", "the collector to show, as built by 'make build'")
	flags.StringVar(&opts.config, "config", "examples/quickstart/config.yaml", "its configuration")
	flags.StringVar(&opts.targets, "targets", "", "directory with the built targets (default: build them with go)")
	flags.DurationVar(&opts.duration, "duration", 75*time.Second, "longest time to wait for leak and repair")
	flags.BoolVar(&opts.keep, "keep", false, "keep the directory with logs, journal and configuration")
	flags.Usage = func() {
		fmt.Fprint(flags.Output(), `demo shows a real leak found, explained, reported and repaired.

It ends with 0 only if the leak was confirmed, leaked sockets were shut (seen in
the kernel and by their owner), the fixed twin and the keep-alive pools were left
alone, and no request of the load failed. 1: one of these failed, which is said.
2: it could not be set up. It needs no root; what is lost without is said.

`)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return opts, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(flags.Output(), "demo:", err)
		return opts, err
	}
	return opts, nil
}

// run returns the exit code.
func run(ctx context.Context, opts options) int {
	out := newPrinter(os.Stdout)
	dir, err := os.MkdirTemp("", "memguard-demo-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 2
	}
	s := &stage{opts: opts, dir: dir, out: out}
	defer func() {
		s.stop(ctx)
		if opts.keep {
			out.note("kept: %s", dir)
		} else if err := os.RemoveAll(dir); err != nil {
			out.note("not removed: %v", err)
		}
	}()
	if err := s.start(ctx); err != nil {
		out.flush()
		fmt.Fprintln(os.Stderr, "demo: cannot be set up:", err)
		return 2
	}
	s.play(ctx)
	if ctx.Err() != nil {
		out.note("interrupted")
		return 1
	}
	evidence := s.gather(ctx)
	s.stop(ctx)
	checks := judge(evidence)
	out.table(evidence)
	if !out.verdict(checks) {
		if !opts.keep {
			out.note("run again with --keep to have the logs; the last lines of the collector's log:")
			out.raw(s.collector.Tail(3000))
		}
		return 1
	}
	return 0
}

func absolute(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w (run 'make build' first, or say where it is)", err)
	}
	return path, nil
}
