// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otel-memguard/memguard/internal/remedy"
)

// defaultDirectory is that of auto_fix.
const defaultDirectory = "/var/lib/memguard"

func addDirectory(cmd *cobra.Command, directory *string) {
	cmd.Flags().StringVarP(directory, "directory", "d", defaultDirectory, "the directory of auto_fix, as in its configuration")
}

func newStopCommand() *cobra.Command {
	var directory, reason string
	cmd := &cobra.Command{
		Use:   "stop",
		Short: "Throw the kill switch: auto_fix does nothing more",
		Long: `Throw the kill switch of auto_fix. The file STOP in the directory comes first: a collector reads it before each
act, and it keeps the next one from acting too. Then the running collector is told; it still watches and reports. It holds until
memguard start.

Exit code 3 says that the file is written, but that no collector ever used the directory: it may be the wrong one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			why := strings.TrimSpace("memguard stop " + reason)
			fileErr := remedy.ThrowKillSwitch(directory, why)
			if fileErr == nil {
				cmd.Printf("stopped: %s/%s is in place\n", directory, remedy.KillSwitchFile)
			}
			ctx, cancel := context.WithTimeoutCause(cmd.Context(), stopTimeout, errMute)
			defer cancel()
			answer, err := ask(ctx, directory, remedy.Request{Command: remedy.CommandStop, Reason: reason})
			switch {
			case err == nil:
				cmd.Println(answer.Text + ": the collector has thrown its kill switch")
			case fileErr != nil:
				return errors.Join(err, fileErr)
			case !errors.Is(err, remedy.ErrNotRunning):
				cmd.PrintErrf("memguard: the collector was not told, but reads the file before each act: %v\n", err)
			case !remedy.HasJournal(directory):
				return &exitError{code: exitNoCollector, err: fmt.Errorf(
					"no collector runs on %s or ever did: is it the directory of auto_fix?", directory)}
			default:
				cmd.Println("no collector runs; the next one will not act")
			}
			return nil
		},
	}
	addDirectory(cmd, &directory)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	return cmd
}

// stopTimeout is how long memguard stop waits for the collector's answer.
const stopTimeout = 3 * time.Second

var errMute = fmt.Errorf("no answer within %s", stopTimeout)

func newStartCommand() *cobra.Command {
	var directory, reason string
	cmd := &cobra.Command{
		Use:   "start",
		Short: "Release the kill switch",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := ask(cmd.Context(), directory, remedy.Request{Command: remedy.CommandStart, Reason: reason})
			switch {
			case err == nil:
				cmd.Println(answer.Text + ": the collector has released its kill switch")
				return nil
			case !errors.Is(err, remedy.ErrNotRunning):
				return err
			}
			if err := remedy.ReleaseKillSwitch(directory); err != nil {
				return err
			}
			cmd.Printf("started: no collector runs; %s/%s is removed\n", directory, remedy.KillSwitchFile)
			return nil
		},
	}
	addDirectory(cmd, &directory)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	return cmd
}

func newStatusCommand() *cobra.Command {
	var directory string
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show the mode in force and whether the kill switch is thrown",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := ask(cmd.Context(), directory, remedy.Request{Command: remedy.CommandStatus})
			if err != nil {
				return err
			}
			s := answer.Status
			if s == nil {
				return errors.New("the collector's answer has no status")
			}
			cmd.Printf("mode        %s (configured: %s)\n", s.Mode, s.Configured)
			for _, why := range s.Why {
				cmd.Printf("            %s\n", why)
			}
			stopped := "not thrown"
			if s.Stopped != "" {
				stopped = "thrown: " + s.Stopped
			}
			cmd.Printf("kill switch %s\nfindings    %d\nwatched     %d objects\njournal     %d records, %d delivered\n",
				stopped, s.Findings, s.Watched, s.Newest, s.Delivered)
			return nil
		},
	}
	addDirectory(cmd, &directory)
	return cmd
}

func ask(ctx context.Context, directory string, r remedy.Request) (*remedy.Response, error) {
	var last *remedy.Response
	err := remedy.Ask(ctx, directory, r, func(answer *remedy.Response) error {
		last = answer
		return nil
	})
	if err == nil && last == nil {
		err = fmt.Errorf("no answer from the collector at %s", directory)
	}
	return last, err
}
