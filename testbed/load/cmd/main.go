// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/otel-memguard/memguard/testbed/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var cfg load.Config
	flag.StringVar(&cfg.URL, "url", "", "what to get, e.g. http://127.0.0.1:8080/work; loopback addresses only")
	flag.IntVar(&cfg.Workers, "workers", 8, "workers, one connection each")
	flag.Float64Var(&cfg.Rate, "rate", 100, "requests per second over all workers")
	flag.DurationVar(&cfg.Duration, "duration", time.Minute, "how long")
	flag.Int64Var(&cfg.Count, "count", 0, "end after so many requests (0: only by time)")
	flag.DurationVar(&cfg.Timeout, "timeout", 5*time.Second, "timeout of one request; it is not retried")
	out := flag.String("out", "", "file for the summary (default: standard output)")
	flag.Parse()

	runner, err := load.New(cfg)
	if err != nil {
		return err
	}
	summary := runner.Run(ctx)
	text, err := json.MarshalIndent(summary, "", "  ")
	if err != nil {
		return err
	}
	text = append(text, '\n')
	if *out != "" {
		return os.WriteFile(*out, text, 0o600)
	}
	_, err = os.Stdout.Write(text)
	return err
}
