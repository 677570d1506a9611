// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
)

// LeaseFile is locked in the runtime directory by the one collector of a host
// that may act (guard 13).
const LeaseFile = "host.lease"

func (e *Engine) takeLease() {
	if e.lease != nil {
		return
	}
	lease, err := lockFile(filepath.Join(e.set.RuntimeDirectory, LeaseFile))
	if err == nil {
		e.lease = lease
	} else if !errors.Is(err, errLocked) {
		e.count(CountLookErrors, "lease", 1)
	}
}

// leaseVerdict is guard 13. A lease whose file was removed does not keep
// another collector out, and so does not count.
func (e *Engine) leaseVerdict() (string, bool) {
	if e.lease == nil {
		return "another collector on this host holds " + filepath.Join(e.set.RuntimeDirectory, LeaseFile), false
	}
	if !e.lease.inPlace() {
		return filepath.Join(e.set.RuntimeDirectory, LeaseFile) + " was removed or replaced", false
	}
	return "the host's lease is ours", true
}

// settleMode finds the strongest mode allowed and says when it changes.
func (e *Engine) settleMode() {
	e.leaveStandby()
	mode, why, off := e.env.strongest(e.set.Mode, e.set.Policies)
	if reason, ok := e.leaseVerdict(); !ok && !off {
		mode, why = ModeDryRun, append(why, reason)
	}
	if e.standby {
		mode, why = ModeDryRun, append(why, "another collector uses the directory "+e.set.Directory)
	}
	e.mu.Lock()
	changed := e.mode != mode || !slices.Equal(e.why, why) || e.off != off
	first := !e.modeSaid
	e.mode, e.why, e.off, e.modeSaid = mode, why, off, true
	e.mu.Unlock()
	if !changed && !first {
		return
	}
	text := "mode " + string(mode)
	switch {
	case off:
		text = "auto_fix is off"
		e.set.Observer.Say(LevelWarn, "auto_fix is off", "reasons", why)
	case mode != e.set.Mode:
		text = "falls back from " + string(e.set.Mode) + " to " + string(mode)
		e.set.Observer.Say(LevelWarn, "auto_fix falls back to a weaker mode", "configured", e.set.Mode, "in_force", mode, "reasons", why)
	default:
		e.set.Observer.Say(LevelInfo, "auto_fix mode", "mode", mode)
	}
	e.note(&Record{Type: TypeMode, Text: strings.Join(append([]string{text}, why...), "; ")})
}
