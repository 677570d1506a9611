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
	j.cursor = readCursor(j.dir)
	for i, path := range paths {
		seg := segment{path: path}
		end, err := readSegment(path, func(r *Record) {
			if seg.first == 0 {
				seg.first = r.Seq
			}
			seg.last = r.Seq
			j.track(r)
			j.opts.Replay(r)
		})
		if err != nil && !errors.Is(err, errTorn) {
			return err
		}
		if seg.last >= j.next {
			j.next = seg.last + 1
		}
		if i == len(paths)-1 && errors.Is(err, errTorn) {
			if err := cutTail(path, end); err != nil {
				return err
			}
		}
		if end <= int64(len(segmentMagic)) && errors.Is(err, errTorn) {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove empty journal segment: %w", err)
			}
			continue
		}
		j.segments = append(j.segments, seg)
	}
	if err := j.reopen(); err != nil {
		return err
	}
	// The cursor can be ahead of segments that were lost; numbers never repeat.
	j.next = max(j.next, j.cursor+1)
	return nil
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

func cutTail(path string, end int64) error {
	if err := os.Truncate(path, end); err != nil {
		return fmt.Errorf("cut torn tail of journal segment: %w", err)
	}
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
