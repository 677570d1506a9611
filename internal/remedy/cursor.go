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

// maxNumber is beyond every number that a journal can reach.
const maxNumber = 1 << 62

// readCursor returns the number of the last delivered record, 0 where there
// is no cursor.
func readCursor(dir string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, cursorName))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read journal cursor: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read journal cursor: %w", err)
	}
	return n, nil
}

// loadCursor believes a cursor only if it can be true: any other would keep
// every record to come from the audit. Records are delivered again rather
// than lost.
func (j *Journal) loadCursor() {
	cursor, err := readCursor(j.dir)
	j.saved = cursor
	known := cursor < j.next || len(j.segments) == 0
	switch {
	case err != nil:
		j.opts.Damaged(err.Error())
	case cursor >= maxNumber || !known:
		j.opts.Damaged(fmt.Sprintf("journal cursor %d is beyond the newest record %d", cursor, j.next-1))
		if len(j.segments) > 0 {
			j.cursor = j.segments[0].first - 1
		}
	default:
		j.cursor = cursor
	}
	if cursor < maxNumber {
		j.next = max(j.next, cursor+1) // numbers never repeat
	}
}

// Cursor returns the number of the last delivered record.
func (j *Journal) Cursor() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.cursor
}

// Delivered moves the cursor to seq, never back. An error says that it holds
// for this run only, until the file can be written. After a crash the file
// holds the old number or the new one.
func (j *Journal) Delivered(seq uint64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lock == nil {
		return os.ErrClosed
	}
	if seq >= j.next {
		return fmt.Errorf("cursor %d is beyond the newest record %d", seq, j.next-1)
	}
	j.cursor = max(j.cursor, seq)
	return j.saveCursor()
}

// saveCursor writes the cursor where the file has an older one. The records
// come first: a cursor beyond the records on the disk would be taken for a
// corrupt one.
func (j *Journal) saveCursor() error {
	if j.cursor == j.saved {
		return nil
	}
	if j.file != nil {
		if err := j.synced(j.file.Sync()); err != nil {
			return fmt.Errorf("sync journal: %w", err)
		}
	}
	path := filepath.Join(j.dir, cursorName)
	if err := writeSynced(path+".new", strconv.FormatUint(j.cursor, 10)+"\n"); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("move journal cursor: %w", err)
	}
	j.saved = j.cursor
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
// oldest first. With resume it begins at the cursor whatever seq is, and goes
// on where the last such call stopped instead of reading from the start of the
// segment; use must then be the same.
func (j *Journal) After(seq uint64, limit int, resume bool, use func(*Record) bool) ([]Record, error) {
	j.mu.Lock()
	segments := append([]segment(nil), j.segments...)
	var pos position
	if resume {
		seq = j.cursor
	}
	if resume && seq >= j.readPos.low && seq <= j.readPos.seq {
		pos = j.readPos
	}
	newest, dir := j.next-1, j.dir
	if resume && j.lock != nil {
		_ = j.saveCursor() // Delivered said so if it failed; it may be possible now
	}
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
	defer j.mu.Unlock()
	if j.dir == dir {
		j.readPos = pos
	}
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
