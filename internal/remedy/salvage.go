// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// corruptSuffix marks segments put aside: nothing reads or extends them.
	corruptSuffix = ".corrupt"
	// maxCorrupt bounds how many are kept; the oldest go first.
	maxCorrupt = 8
	// minFrame is less than the shortest frame has, in bytes.
	minFrame = frameHeader + 32
)

// salvage is what a segment with bytes that are no record still holds.
type salvage struct {
	whole  []byte // the magic, and every whole frame
	bad    uint64 // bytes that are no frame
	badEnd bool   // some of them at the end
	torn   bool   // all of them are the beginning of a last frame: a crash, no damage
}

// salvageSegment goes on where reading a segment stopped, at offset from, and
// calls fn for each whole record behind it.
func salvageSegment(path string, from int64, fn func(*Record)) (salvage, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return salvage{}, fmt.Errorf("read journal segment: %w", err)
	}
	return salvageFrames(data, min(int(from), len(data)), fn), nil
}

func salvageFrames(data []byte, from int, fn func(*Record)) salvage {
	s := salvage{whole: []byte(segmentMagic)}
	if from >= len(segmentMagic) {
		s.whole = append(s.whole, data[len(segmentMagic):from]...)
	}
	rest := data[from:]
	s.torn = isTorn(rest, from == 0)
	for len(rest) > 0 {
		var r Record
		n := decodeFrame(rest, &r)
		s.badEnd = n == 0
		if n == 0 {
			s.bad++
			rest = rest[1:]
			continue
		}
		s.torn = false
		s.whole = append(s.whole, rest[:n]...)
		rest = rest[n:]
		fn(&r)
	}
	return s
}

// isTorn reports whether bytes can be what a crash leaves of a frame, or of
// the magic: too few of them, or none that were ever written.
func isTorn(rest []byte, atStart bool) bool {
	if len(bytes.TrimLeft(rest, "\x00")) == 0 {
		return true
	}
	if atStart {
		return strings.HasPrefix(segmentMagic, string(rest))
	}
	if len(rest) < frameHeader {
		return true
	}
	size := binary.LittleEndian.Uint32(rest)
	return size > 0 && size <= maxRecordSize && uint64(len(rest)) < frameHeader+uint64(size)
}

// decodeFrame returns the length of the frame with which data begins, 0 where
// it does not begin with one. It is asked at every offset of a damaged
// segment: JSON holds no control characters, so that hardly an offset within
// a record passes for the length of one.
func decodeFrame(data []byte, r *Record) int {
	if len(data) < frameHeader {
		return 0
	}
	size := binary.LittleEndian.Uint32(data)
	end := frameHeader + uint64(size)
	if size < 2 || size > maxRecordSize || end > uint64(len(data)) || data[frameHeader] != '{' || data[end-1] != '}' {
		return 0
	}
	payload := data[frameHeader:end]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(data[4:]) || json.Unmarshal(payload, r) != nil {
		return 0
	}
	return int(end)
}

// putAside keeps a damaged segment as evidence, and puts its whole frames in
// its place, if there are any. At no time is there neither.
func putAside(path string, whole []byte) error {
	dir := filepath.Dir(path)
	aside := freeName(path)
	if whole == nil {
		if err := os.Rename(path, aside); err != nil {
			return err
		}
		return errors.Join(dropCorrupt(dir), syncDir(dir))
	}
	if err := writeSynced(path+".new", string(whole)); err != nil {
		return err
	}
	if err := os.Link(path, aside); err != nil {
		// A file system without links: a crash between the two renames leaves
		// the damaged one aside, and the good one beside it, by name.
		if err := os.Rename(path, aside); err != nil {
			return err
		}
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return errors.Join(dropCorrupt(dir), syncDir(dir))
}

func freeName(path string) string {
	for n := 1; ; n++ {
		name := fmt.Sprintf("%s.%d%s", path, n, corruptSuffix)
		if _, err := os.Lstat(name); err != nil || n > maxCorrupt {
			return name
		}
	}
}

func dropCorrupt(dir string) error {
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return err
	}
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !strings.HasSuffix(e.Name(), corruptSuffix) })
	for _, e := range entries[:max(0, len(entries)-maxCorrupt)] {
		if err := os.Remove(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}
