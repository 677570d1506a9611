// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"os"
)

// prune deletes the oldest segments beyond the bound, but what is still
// needed only beyond the hard bound.
func (j *Journal) prune() {
	for len(j.segments) > j.opts.Segments {
		oldest := j.segments[0]
		needed := j.needed(oldest)
		if needed > 0 && len(j.segments) <= j.opts.Segments*hardFactor {
			return
		}
		if err := os.Remove(oldest.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return // tried again with the next segment
		}
		if needed > 0 {
			j.opts.Lost(needed)
			for id, r := range j.open {
				if r.Seq <= oldest.last {
					delete(j.open, id)
					delete(j.applied, id)
				}
			}
		}
		j.segments = j.segments[1:]
	}
}

func (j *Journal) needed(s segment) int {
	n := 0
	for _, r := range j.open {
		if r.Seq <= s.last {
			n++
		}
	}
	if j.opts.KeepUndelivered && s.last > j.cursor {
		n += int(s.last - max(j.cursor, s.first-1))
	}
	return n
}
