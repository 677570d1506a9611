// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

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
		Long: `Throw the kill switch of auto_fix. The running collector is told at once; it still watches and reports.
Where none runs, the file STOP in the directory keeps the next one from acting. It holds until memguard start.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			answer, err := ask(cmd.Context(), directory, remedy.Request{Command: remedy.CommandStop, Reason: reason})
			if err == nil {
				cmd.Println(answer.Text + ": the collector has thrown its kill switch")
				return nil
			}
			// A collector that does not answer reads the file before each act.
			why := "memguard stop " + reason
			if fileErr := remedy.ThrowKillSwitch(directory, strings.TrimSpace(why)); fileErr != nil {
				return errors.Join(err, fileErr)
			}
			cmd.Printf("stopped: %s/%s is in place (%v)\n", directory, remedy.KillSwitchFile, err)
			return nil
		},
	}
	addDirectory(cmd, &directory)
	cmd.Flags().StringVar(&reason, "reason", "", "why, for the journal")
	return cmd
}

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
