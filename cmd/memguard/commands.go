// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import "github.com/spf13/cobra"

// commands lists the subcommands in the order of their help.
func commands() []*cobra.Command {
	return []*cobra.Command{
		newDoctorCommand(),
		newStatusCommand(),
		newStopCommand(),
		newStartCommand(),
		newJournalCommand(),
		newVersionCommand(),
	}
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { cmd.Println("memguard", version) },
	}
}
