// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const cursorName = "delivered"

// readCursor returns the number of the last delivered record. A cursor that
// cannot be read is 0: records are delivered again rather than lost.
func readCursor(dir string) uint64 {
	text, err := os.ReadFile(filepath.Join(dir, cursorName))
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// Cursor returns the number of the last delivered record.
func (j *Journal) Cursor() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.cursor
}

// Delivered moves the cursor to seq, never back. After a crash the file holds
// the old number or the new one.
func (j *Journal) Delivered(seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seq <= j.cursor {
		return nil
	}
	if seq >= j.next {
		return fmt.Errorf("cursor %d is beyond the newest record %d", seq, j.next-1)
	}
	path := filepath.Join(j.dir, cursorName)
	if err := writeSynced(path+".new", strconv.FormatUint(seq, 10)+"\n"); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("move journal cursor: %w", err)
	}
	j.cursor = seq
	return nil
}

func writeSynced(path, text string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write journal cursor: %w", err)
	}
	_, writeErr := file.WriteString(text)
	if err := errors.Join(writeErr, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write journal cursor: %w", err)
	}
	return nil
}

// After returns records after number seq which use accepts, at most limit,
// oldest first. With resume it goes on where the last such call stopped
// instead of reading from the start of the segment; use must then be the same.
func (j *Journal) After(seq uint64, limit int, resume bool, use func(*Record) bool) ([]Record, error) {
	j.mu.Lock()
	segments := append([]segment(nil), j.segments...)
	var pos position
	if resume && seq >= j.readPos.low && seq <= j.readPos.seq {
		pos = j.readPos
	}
	newest := j.next - 1
	j.mu.Unlock()
	var found []Record
	last := seq
	for _, seg := range segments {
		if seg.last <= seq || firstOf(seg.path) < firstOf(pos.path) {
			continue
		}
		offset := int64(0)
		if seg.path == pos.path {
			offset = pos.offset
		}
		end, err := readFrom(seg.path, offset, func(r *Record) bool {
			if r.Seq <= seq {
				return true
			}
			if r.Seq > newest || len(found) >= limit {
				return false
			}
			last = r.Seq
			if use(r) {
				found = append(found, *r)
			}
			return true
		})
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return found, err
		}
		pos = position{low: seq, seq: last, path: seg.path, offset: end}
		if len(found) >= limit {
			break
		}
	}
	if !resume {
		return found, nil
	}
	// Records that were found must be found again until they are delivered.
	if len(found) > 0 {
		pos.low = found[len(found)-1].Seq
	}
	j.mu.Lock()
	j.readPos = pos
	j.mu.Unlock()
	return found, nil
}

// readFrom reads a segment from an offset until fn returns false, and returns
// the offset of the first record not taken.
func readFrom(path string, offset int64, fn func(*Record) bool) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open journal segment: %w", err)
	}
	defer file.Close()
	frames, err := newFrameReader(file)
	if err != nil {
		return 0, nil
	}
	if offset > frames.offset {
		if _, err := file.Seek(offset, io.SeekStart); err != nil {
			return 0, fmt.Errorf("read journal segment: %w", err)
		}
		frames.in, frames.offset = bufio.NewReaderSize(file, 64<<10), offset
	}
	var r Record
	for {
		at := frames.offset
		if err := frames.next(&r); err != nil {
			return at, nil
		}
		if !fn(&r) {
			return at, nil
		}
	}
}
