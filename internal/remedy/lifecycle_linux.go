// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// Start opens the journal, takes the host lease, looks at what an earlier run
// left half done, and begins to work. Nothing is done to any process before
// SetReady(true).
func (e *Engine) Start() error {
	if err := e.open(); err != nil {
		return err
	}
	e.recoverIntents()
	ctx, cancel := context.WithCancel(context.Background())
	e.stop = cancel
	e.wait.Go(func() { e.work(ctx) })
	return nil
}

func (e *Engine) open() (err error) {
	defer func() {
		if err != nil {
			_ = e.closeAll()
		}
	}()
	if e.host.hostID, err = procid.HostID("/"); err != nil {
		return fmt.Errorf("identify this host: %w", err)
	}
	if e.host.bootID, err = procid.BootID(e.host.root); err != nil {
		return fmt.Errorf("identify this boot: %w", err)
	}
	e.own = e.host.ancestors()
	e.env = readEnvironment(e.host.root)
	if err := e.openJournal(); err != nil {
		return err
	}
	if e.diag, err = sockdiag.Open(); err != nil {
		return fmt.Errorf("read sockets: %w", err)
	}
	if !e.standby {
		if e.control, err = listenControl(filepath.Join(e.set.Directory, ControlSocket), e); err != nil {
			return err
		}
	}
	e.takeLease()
	e.settleMode()
	return nil
}

// Shutdown ends the work after the act that is under way, if any, and closes
// the journal. It is safe without Start and more than once.
func (e *Engine) Shutdown(ctx context.Context) error {
	e.ready.Store(false)
	if e.stop == nil {
		return nil
	}
	e.stop()
	ended := make(chan struct{})
	go func() { e.wait.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-ctx.Done():
		return fmt.Errorf("auto_fix did not end in time: %w", ctx.Err())
	}
	e.stop = nil
	return e.closeAll()
}

func (e *Engine) closeAll() error {
	var errs []error
	if e.control != nil {
		errs = append(errs, e.control.Close())
		e.control = nil
	}
	if e.diag != nil {
		errs = append(errs, e.diag.Close())
		e.diag = nil
	}
	if e.lease != nil {
		errs = append(errs, e.lease.Close())
		e.lease = nil
	}
	if e.journal != nil {
		errs = append(errs, e.journal.Close())
	}
	return errors.Join(errs...)
}
