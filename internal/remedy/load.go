// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"os"
)

func (j *Journal) load() error {
	paths, err := segmentPaths(j.dir)
	if err != nil {
		return err
	}
	newest := sound
	for i, path := range paths {
		following := uint64(0)
		if i+1 < len(paths) {
			following = firstOf(paths[i+1])
		}
		if newest, err = j.loadSegment(path, following); err != nil {
			return err
		}
	}
	if newest == sound {
		if err := j.reopen(); err != nil {
			return err
		}
	}
	j.loadCursor()
	return nil
}

// condition is what loading found of a segment.
type condition int

const (
	sound   condition = iota // may be written on
	removed                  // held no record, or none that can be read
	mended                   // the damaged one was put aside, its records were kept
)

// loadSegment takes a segment over. following is the number in the name of
// the next one, 0 for the newest.
func (j *Journal) loadSegment(path string, following uint64) (condition, error) {
	seg := segment{path: path, first: max(1, firstOf(path))}
	seg.last = seg.first - 1
	j.next = max(j.next, seg.first)
	missing := uint64(0)
	take := func(r *Record) {
		if r.Seq > seg.last+1 {
			missing += r.Seq - seg.last - 1
		}
		seg.last = r.Seq
		j.next = max(j.next, r.Seq+1)
		j.track(r)
		j.opts.Replay(r)
	}
	end, err := readSegment(path, take)
	if err == nil {
		j.segments = append(j.segments, seg)
		return sound, nil
	}
	if !errors.Is(err, errTorn) {
		return sound, fmt.Errorf("%s: %w", path, err)
	}
	s, err := salvageSegment(path, end, take)
	if err != nil {
		return sound, err
	}
	mayHaveHeld := s.bad/minFrame + 1
	switch {
	case following > seg.last+1 && s.torn: // the rest of the file may be what is missing
		missing += following - seg.last - 1
	case following > seg.last+1:
		missing += min(following-seg.last-1, mayHaveHeld)
	case following == 0 && s.badEnd && !s.torn:
		missing++             // at least
		j.next += mayHaveHeld // numbers never repeat
	}
	empty := seg.last < seg.first
	what := sound
	switch {
	case s.torn && empty:
		what, err = removed, os.Remove(path)
	case s.torn:
		err = os.Truncate(path, end)
	case empty:
		what, err = removed, putAside(path, nil)
	default:
		what, err = mended, putAside(path, s.whole)
	}
	if err != nil {
		return what, fmt.Errorf("mend journal segment: %w", err)
	}
	if what != removed {
		j.segments = append(j.segments, seg)
	}
	if !s.torn {
		j.opts.Damaged(fmt.Sprintf("journal segment %s: %d bytes are no records; the segment is kept with the ending %s",
			path, s.bad, corruptSuffix))
	}
	if missing > 0 {
		j.opts.Lost(int(min(missing, maxNumber)))
	}
	return what, nil
}

// reopen goes on with the newest segment, so that restarts do not use up the
// bound on segments.
func (j *Journal) reopen() error {
	if len(j.segments) == 0 {
		return nil
	}
	path := j.segments[len(j.segments)-1].path
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("open journal segment: %w", err)
	}
	if info.Size() >= j.opts.SegmentSize {
		return nil
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("open journal segment: %w", err)
	}
	j.file, j.size = file, info.Size()
	return nil
}

func (j *Journal) track(r *Record) {
	switch {
	case r.Type == TypeIntent:
		j.open[r.ID] = *r
	case r.Type == TypeApplied:
		if _, ok := j.open[r.ID]; ok {
			j.applied[r.ID] = *r
		}
	case r.Type.outcome():
		delete(j.open, r.ID)
		delete(j.applied, r.ID)
	}
}
