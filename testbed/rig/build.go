// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// targetPackages are the programs that the testbed starts.
var targetPackages = map[string]string{
	"leaky":    "github.com/otel-memguard/memguard/testbed/targets/leaky",
	"upstream": "github.com/otel-memguard/memguard/testbed/targets/upstream",
}

// Targets returns a directory that holds the targets: the given one if they
// are there, else dir, into which they are built.
func Targets(ctx context.Context, given, dir string) (string, error) {
	if given != "" {
		for name := range targetPackages {
			if _, err := os.Stat(filepath.Join(given, name)); err != nil {
				return "", fmt.Errorf("targets: %w", err)
			}
		}
		return given, nil
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		return "", errors.New("targets: no go tool in PATH to build them with; " +
			"build ./testbed/targets/... into a directory and name it with --targets")
	}
	for name, pkg := range targetPackages {
		build := exec.CommandContext(ctx, goTool, "build", "-o", filepath.Join(dir, name), pkg)
		if out, err := build.CombinedOutput(); err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", pkg, err, out)
		}
	}
	return dir, nil
}

// CopyExecutable gives a program a second name, by which a policy can tell it
// from its twin. It is a copy and not a link: the program's inode is part of
// the identity of a process.
func CopyExecutable(from, to string) (err error) {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	_, err = io.Copy(dst, src)
	return err
}
