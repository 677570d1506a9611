// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

// Command memguard speaks to a collector that runs auto_fix, reads its
// journal, and examines a host.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the linker.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := newRootCommand().ExecuteContext(ctx); err != nil {
		if !errors.Is(err, context.Canceled) {
			fmt.Fprintln(os.Stderr, "memguard:", err)
		}
		return exitCode(err)
	}
	return 0
}

// exitNoCollector is the exit code of memguard stop in a directory that no
// collector ever used.
const exitNoCollector = 3

// exitError is an error with an exit code of its own.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }

func (e *exitError) Unwrap() error { return e.err }

func exitCode(err error) int {
	if own, ok := errors.AsType[*exitError](err); ok {
		return own.code
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "memguard",
		Short: "Examine a host, read the journal of auto_fix, and stop or start its repairs",
		Long: `memguard examines a host, reads the journal of auto_fix, and stops or starts its repairs.

It speaks to the running collector through the unix socket in the directory of auto_fix.
Where no collector runs, it uses the files of that directory.`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetOut(os.Stdout) // cobra's own default for what a command prints is stderr
	root.AddCommand(commands()...)
	return root
}
