// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const segmentSuffix = ".seg"

func segmentName(first uint64) string { return fmt.Sprintf("%020d%s", first, segmentSuffix) }

// segmentPaths lists the segments of a journal, oldest first.
func segmentPaths(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read journal directory: %w", err)
	}
	var paths []string
	for _, e := range entries {
		number, ok := strings.CutSuffix(e.Name(), segmentSuffix)
		if !ok || len(number) != 20 || !e.Type().IsRegular() {
			continue
		}
		if _, err := strconv.ParseUint(number, 10, 64); err == nil {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	slices.Sort(paths)
	return paths, nil
}

// readSegment calls fn for each whole record and returns the offset where
// they end. errTorn says that something follows which is none.
func readSegment(path string, fn func(*Record)) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open journal segment: %w", err)
	}
	defer file.Close()
	return readFrames(file, fn)
}

func readFrames(in io.Reader, fn func(*Record)) (int64, error) {
	frames, err := newFrameReader(in)
	if err != nil {
		return 0, err
	}
	var r Record
	for {
		switch err := frames.next(&r); {
		case err == nil:
			fn(&r)
		case errors.Is(err, io.EOF):
			return frames.offset, nil
		default:
			return frames.offset, err
		}
	}
}

// ReadJournal calls fn for every whole record with a number of at least from,
// oldest first, while a collector may be writing: it takes no lock and
// changes nothing. It returns how many segments hold bytes that are no
// record; what follows them is read. A segment that is deleted meanwhile is
// passed over.
func ReadJournal(dir string, from uint64, fn func(*Record)) (torn int, err error) {
	paths, err := segmentPaths(dir)
	if err != nil {
		return 0, err
	}
	for i, path := range paths {
		if i+1 < len(paths) && firstOf(paths[i+1]) <= from {
			continue
		}
		wanted := func(r *Record) {
			if r.Seq >= from {
				fn(r)
			}
		}
		end, err := readSegment(path, wanted)
		if errors.Is(err, errTorn) {
			torn++
			_, err = salvageSegment(path, end, wanted)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return torn, err
		}
	}
	return torn, nil
}

func firstOf(path string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentSuffix), 10, 64)
	return n
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("open journal directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync journal directory: %w", err)
	}
	return nil
}
