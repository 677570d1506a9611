// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/otel-memguard/memguard/internal/remedy"
)

func newJournalCommand() *cobra.Command {
	var directory, format string
	var from uint64
	var last int
	var guards bool
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "Show what auto_fix decided and did",
		Long: `Show what auto_fix decided and did, oldest first. The running collector is asked;
where none runs, the files are read, and left as they are.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if format != "text" && format != "json" {
				return fmt.Errorf("--format must be text or json, got %q", format)
			}
			if last < 0 {
				return fmt.Errorf("--last must not be negative, got %d", last)
			}
			records, err := readRecords(cmd, directory, from)
			if err != nil {
				return err
			}
			if last > 0 && len(records) > last {
				records = records[len(records)-last:]
			}
			if format == "json" {
				return writeJSON(cmd.OutOrStdout(), records)
			}
			for i := range records {
				writeRecord(cmd.OutOrStdout(), &records[i], guards)
			}
			return nil
		},
	}
	addDirectory(cmd, &directory)
	cmd.Flags().StringVar(&format, "format", "text", "text, or json for one record a line")
	cmd.Flags().Uint64Var(&from, "from", 1, "number of the first record")
	cmd.Flags().IntVar(&last, "last", 0, "only so many of the newest records, 0 for all")
	cmd.Flags().BoolVar(&guards, "guards", false, "the verdict of each guard")
	return cmd
}

// readRecords asks the collector page by page, or reads the segments.
func readRecords(cmd *cobra.Command, directory string, from uint64) ([]remedy.Record, error) {
	var records []remedy.Record
	for {
		before := len(records)
		err := remedy.Ask(cmd.Context(), directory, remedy.Request{Command: remedy.CommandJournal, From: from},
			func(r *remedy.Response) error {
				if r.Record != nil {
					records = append(records, *r.Record)
					from = r.Record.Seq + 1
				}
				return nil
			})
		switch {
		case errors.Is(err, remedy.ErrNotRunning):
			return readSegments(cmd, directory, from, records)
		case err != nil:
			return nil, err
		case len(records) == before:
			return records, nil
		}
	}
}

func readSegments(cmd *cobra.Command, directory string, from uint64, records []remedy.Record) ([]remedy.Record, error) {
	torn, err := remedy.ReadJournal(filepath.Join(directory, remedy.JournalDirectory), from, func(r *remedy.Record) {
		records = append(records, *r)
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%q holds no journal: is it the directory of auto_fix?", directory)
	}
	if torn > 0 {
		cmd.PrintErrf("memguard: %d segments end in bytes that are no record; the records before them are shown\n", torn)
	}
	return records, err
}

func writeJSON(out io.Writer, records []remedy.Record) error {
	enc := json.NewEncoder(out)
	for i := range records {
		if err := enc.Encode(&records[i]); err != nil {
			return fmt.Errorf("write journal: %w", err)
		}
	}
	return nil
}

func writeRecord(out io.Writer, r *remedy.Record, guards bool) {
	fmt.Fprintf(out, "%6d  %s  %-9s  %s\n", r.Seq, r.Time.Local().Format(time.DateTime), r.Type, describe(r))
	if !guards {
		return
	}
	for _, v := range r.Guards {
		verdict := "pass  "
		if !v.Pass {
			verdict = "REFUSE"
		}
		fmt.Fprintf(out, "        %2d %-13s %s %s\n", v.Guard, v.Name, verdict, clean(v.Reason))
	}
}

func describe(r *remedy.Record) string {
	var parts []string
	if p := r.Process; p != nil {
		parts = append(parts, clean(p.ExecutableName)+"["+strconv.Itoa(int(p.PID))+"]")
	}
	if r.ID != "" {
		parts = append(parts, clean(r.ID))
	}
	if o := r.Object; o != nil {
		parts = append(parts, fmt.Sprintf("fd %d %s>%s", o.FD, o.Local, o.Remote))
	}
	if r.Before != "" || r.After != "" {
		parts = append(parts, clean(r.Before)+"→"+clean(r.After))
	}
	if r.Freed != "" {
		parts = append(parts, "freed "+clean(r.Freed))
	}
	return strings.Join(append(parts, clean(r.Text)), "  ")
}

// clean keeps a watched process's choice of name from writing to a terminal.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, s)
}
