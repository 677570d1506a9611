// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"time"
)

// ErrNotRunning means that no collector answers in this directory.
var ErrNotRunning = errors.New("no collector with auto_fix runs on this directory")

// Ask sends a request to the collector that uses the directory and hands each
// answer to fn. It returns ErrNotRunning where there is none. It waits for each
// answer for ten seconds, or until ctx ends if that is sooner.
func Ask(ctx context.Context, dir string, r Request, fn func(*Response) error) error {
	r.Version = controlVersion
	line, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", filepath.Join(dir, ControlSocket))
	if err != nil {
		if notRunning(err) {
			return fmt.Errorf("%w: %s", ErrNotRunning, dir)
		}
		return fmt.Errorf("connect to the collector: %w", err)
	}
	defer conn.Close()
	done := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer done()
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("ask the collector: %w", err)
	}
	in := bufio.NewReader(conn)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(controlTimeout)); err != nil {
			return fmt.Errorf("ask the collector: %w", err)
		}
		line, err := in.ReadBytes('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("read the collector's answer: %w", err)
		}
		var answer Response
		if err := json.Unmarshal(line, &answer); err != nil {
			return fmt.Errorf("read the collector's answer: %w", err)
		}
		if answer.Error != "" {
			return errors.New(answer.Error)
		}
		if err := fn(&answer); err != nil || answer.Final {
			return err
		}
	}
}
