// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// check is one row of doctor's table.
type check struct {
	Feature string  `json:"feature"`
	Needs   string  `json:"needs"`
	Had     verdict `json:"had"`
	Detail  string  `json:"detail"`
	Lost    string  `json:"lost,omitempty"` // what is lost without, empty where all is had
}

// verdict says whether a feature can be had on this host as this user.
type verdict string

const (
	verdictYes    verdict = "yes"
	verdictPartly verdict = "partly"
	verdictNo     verdict = "no"
)

var errLost = errors.New("some features cannot be had here, see the table")

func newDoctorCommand() *cobra.Command {
	var root, format string
	var strict bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Show what MemGuard can see and do on this host as this user",
		Long: `Show what MemGuard can see and do on this host, as the user who runs this command:
each feature, what it needs, whether that is had, and what is lost without.

Every check only reads. Nothing on the host is changed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			checks, err := examine(root)
			if err != nil {
				return err
			}
			switch format {
			case "table":
				err = writeTable(cmd.OutOrStdout(), checks)
			case "json":
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				err = enc.Encode(checks)
			default:
				return fmt.Errorf("--format must be table or json, got %q", format)
			}
			if err == nil && strict {
				for _, c := range checks {
					if c.Had != verdictYes {
						return errLost
					}
				}
			}
			return err
		},
	}
	cmd.Flags().StringVar(&root, "root-path", "/", "where the host's file system is mounted, as the receiver's root_path")
	cmd.Flags().StringVar(&format, "format", "table", "table or json")
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 where a feature is missing")
	return cmd
}

func writeTable(out io.Writer, checks []check) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FEATURE\tNEEDS\tHAD\tFOUND\tLOST WITHOUT")
	for _, c := range checks {
		lost := c.Lost
		if lost == "" {
			lost = "-"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", c.Feature, c.Needs, c.Had, c.Detail, lost)
	}
	return w.Flush()
}
