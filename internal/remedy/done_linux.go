// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

// doneKey names an object that was acted on, for the time of this boot.
type doneKey struct {
	boot   string
	cookie uint64
}

// maxDone bounds what is remembered of acts of earlier runs and this one.
const maxDone = 1 << 18

// remember keeps what the journal says was acted on in this boot: a cookie of
// another boot means nothing now.
func (e *Engine) remember(r *Record) {
	if r.Object == nil || r.Process == nil || r.Object.Cookie == 0 || r.Process.BootID != e.host.bootID {
		return
	}
	key := doneKey{r.Process.BootID, r.Object.Cookie}
	switch {
	case r.Type == TypeWithdrawn:
		delete(e.done, key)
	case r.Type != TypeIntent || e.done[key]:
	case len(e.done) < maxDone:
		e.done[key] = true
	default:
		e.forgot = true
	}
}

// memoryFull reports whether acts of this boot could not be remembered, or the
// next one could not: then nothing is done rather than something twice.
func (e *Engine) memoryFull() bool { return e.forgot || len(e.done) >= maxDone }
