// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"path/filepath"
)

// maxStandby bounds the collectors that wait beside the one which uses a
// directory.
const maxStandby = 8

func (e *Engine) journalOptions() JournalOptions {
	opts := e.set.Journal
	opts.Lost = func(n int) { e.count(CountJournalLost, "", int64(n)) }
	opts.Replay = e.remember
	opts.Damaged = func(what string) {
		e.count(CountJournalErrors, "load", 1)
		e.set.Observer.Say(LevelWarn, "the journal is damaged", "what", what)
	}
	return opts
}

func (e *Engine) openJournal() (err error) {
	dir := filepath.Join(e.set.Directory, JournalDirectory)
	e.journal, err = OpenJournal(dir, e.journalOptions())
	for n := 1; errors.Is(err, ErrJournalLocked) && n <= maxStandby; n++ {
		e.standby = true
		e.journal, err = OpenJournal(standbyDirectory(dir, n), e.journalOptions())
	}
	if err != nil {
		return fmt.Errorf("directory %q: %w", e.set.Directory, err)
	}
	return nil
}

func standbyDirectory(dir string, n int) string {
	if n == 1 {
		return dir + ".standby"
	}
	return fmt.Sprintf("%s.standby.%d", dir, n)
}

// leaveStandby takes the directory over once the collector that used it has
// ended. What the audit has not delivered of our own journal is left by no
// other way, so that it comes first.
func (e *Engine) leaveStandby() {
	if !e.standby {
		return
	}
	if e.audited.Load() {
		waiting, err := e.journal.After(e.journal.Cursor(), 1, false, func(r *Record) bool { return r.Type.Audited() })
		if err != nil || len(waiting) > 0 {
			return
		}
	}
	journal, err := OpenJournal(filepath.Join(e.set.Directory, JournalDirectory), e.journalOptions())
	if errors.Is(err, ErrJournalLocked) {
		return
	}
	if err != nil {
		e.count(CountJournalErrors, "open", 1)
		return
	}
	control, err := listenControl(filepath.Join(e.set.Directory, ControlSocket), e)
	if err != nil {
		e.count(CountLookErrors, "control", 1)
		_ = journal.Close()
		return
	}
	if err := e.journal.become(journal); err != nil {
		e.count(CountJournalErrors, "close", 1) // of the one that was left
	}
	e.standby, e.control = false, control
	e.set.Observer.Say(LevelInfo, "auto_fix takes over from the collector that used its directory", "directory", e.set.Directory)
	e.recoverIntents()
}
