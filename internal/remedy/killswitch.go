// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"
)

// KillSwitchFile is the file whose presence in the directory of auto_fix
// forbids every act.
const KillSwitchFile = "STOP"

// KillSwitch is guard 1. It is thrown by a file, which outlives the collector,
// and by Stop, which works even where the file cannot be written.
type KillSwitch struct {
	dir  string
	word atomic.Pointer[string] // why it was thrown in this process
}

// NewKillSwitch returns the kill switch of a directory.
func NewKillSwitch(dir string) *KillSwitch { return &KillSwitch{dir: dir} }

// Thrown reports whether nothing may be done, and why. What cannot be read
// counts as thrown, a missing directory too, and one that others may write.
func (k *KillSwitch) Thrown() (string, bool) {
	if word := k.word.Load(); word != nil {
		return *word, true
	}
	info, err := os.Stat(k.dir)
	if err == nil {
		err = trusted(info)
	}
	if err != nil {
		return fmt.Sprintf("the directory of the kill switch %s is not to be relied on: %v", k.dir, err), true
	}
	path := filepath.Join(k.dir, KillSwitchFile)
	switch _, err := os.Lstat(path); {
	case err == nil:
		return path + " exists", true
	case errors.Is(err, os.ErrNotExist):
		return "", false
	default:
		return fmt.Sprintf("the kill switch cannot be read: %v", err), true
	}
}

// Stop throws the switch at once, and then for later starts by its file. An
// error means that it holds for this process only.
func (k *KillSwitch) Stop(why string) error {
	k.word.Store(&why)
	return ThrowKillSwitch(k.dir, why)
}

// Start releases the switch. Where the file cannot be removed it stays thrown.
func (k *KillSwitch) Start() error {
	if err := ReleaseKillSwitch(k.dir); err != nil {
		return err
	}
	k.word.Store(nil)
	return nil
}

// ThrowKillSwitch writes the file, for a collector that does not run. What
// already has its name, a link too, throws the switch as it is and is never
// written through.
func ThrowKillSwitch(dir, why string) error {
	path := filepath.Join(dir, KillSwitchFile)
	text := time.Now().UTC().Format(time.RFC3339) + " " + why + "\n"
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644) //nolint:gosec // others may see that it is thrown
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write kill switch: %w", err)
	}
	_, writeErr := file.WriteString(text)
	if err := errors.Join(writeErr, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write kill switch: %w", err)
	}
	return syncDir(dir)
}

// ReleaseKillSwitch removes the file.
func ReleaseKillSwitch(dir string) error {
	err := os.Remove(filepath.Join(dir, KillSwitchFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove kill switch: %w", err)
	}
	return nil
}
