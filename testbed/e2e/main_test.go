// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-memguard/memguard/testbed/rig"
)

// shared is removed when all tests have run.
var shared struct {
	dir     string
	targets func() (string, error)
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "mg-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	// Tests that run a child as nobody need to get at what is in it.
	if err := os.Chmod(dir, 0o755); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	shared.dir = dir
	shared.targets = sync.OnceValues(func() (string, error) { return rig.Targets(context.Background(), "", dir) })
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// collectorPath returns the binary under test, or skips.
func collectorPath(t *testing.T) string {
	t.Helper()
	path := os.Getenv("OTELCOL_MEMGUARD")
	if path == "" {
		path = "../../bin/otelcol-memguard"
	}
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no collector to test: %v; run 'make build' or name one in OTELCOL_MEMGUARD", err)
	}
	return path
}

func needRoot(t *testing.T, what string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("needs root: %s", what)
	}
}
