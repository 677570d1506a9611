// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// found is what opening a journal told.
type found struct {
	lost    int
	damaged []string
}

func (f *found) options() JournalOptions {
	return JournalOptions{
		Lost:    func(n int) { f.lost += n },
		Damaged: func(what string) { f.damaged = append(f.damaged, what) },
	}
}

// intents fills a journal with open intents and closes it.
func intents(t *testing.T, dir string, n int, opts JournalOptions) []string {
	t.Helper()
	j, err := OpenJournal(dir, opts)
	require.NoError(t, err)
	for i := range n {
		require.NoError(t, j.Append(&Record{Type: TypeIntent, ID: strconv.Itoa(i), Time: time.Unix(1, 0)}))
	}
	require.NoError(t, j.Close())
	paths, err := segmentPaths(dir)
	require.NoError(t, err)
	return paths
}

func overwrite(t *testing.T, path string, at int64, text []byte) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = file.WriteAt(text, at)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}

func TestJournalKeepsWhatIsWholeAroundDamage(t *testing.T) {
	t.Parallel()
	const records = 100
	sample := t.TempDir()
	whole, err := os.ReadFile(intents(t, sample, records, JournalOptions{})[0])
	require.NoError(t, err)
	var cases []int64
	for at := int64(0); at < int64(len(whole)); at += 97 {
		cases = append(cases, at)
	}
	cases = append(cases, 12, 20, int64(len(whole))-1)
	for _, at := range cases {
		t.Run(fmt.Sprintf("byte %d", at), func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := intents(t, dir, records, JournalOptions{})[0]
			overwrite(t, path, at, []byte{0xff})
			spoilt, err := os.ReadFile(path)
			require.NoError(t, err)

			shown, torn := readAll(t, dir)
			assert.Equal(t, 1, torn)
			assert.GreaterOrEqual(t, len(shown), records-1, "a reader reads past it too")

			var f found
			j, err := OpenJournal(dir, f.options())
			require.NoError(t, err)
			t.Cleanup(func() { assert.NoError(t, j.Close()) })
			open, _ := j.OpenIntents()
			assert.Equal(t, records, len(open)+f.lost, "what is not there is counted")
			assert.LessOrEqual(t, f.lost, 1)
			assert.Len(t, f.damaged, 1)
			r := &Record{Type: TypeMode}
			require.NoError(t, j.Append(r))
			assert.Greater(t, r.Seq, uint64(records), "no number is given twice")
			aside, err := os.ReadFile(path + ".1" + corruptSuffix)
			require.NoError(t, err)
			assert.Equal(t, spoilt, aside)

			after, torn := readAll(t, dir)
			assert.Zero(t, torn)
			assert.Len(t, after, len(open)+1)
			require.NoError(t, j.Close())
			f = found{}
			j, err = OpenJournal(dir, f.options())
			require.NoError(t, err)
			assert.Zero(t, f, "counted once")
			require.NoError(t, j.Append(r))
			require.NoError(t, j.Close())
		})
	}
}

func TestJournalOfNothingReadable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := intents(t, dir, 5, JournalOptions{})[0]
	info, err := os.Stat(path)
	require.NoError(t, err)
	overwrite(t, path, 0, bytes.Repeat([]byte{0xaa}, int(info.Size())))
	var f found
	j := openTest(t, dir, f.options())
	assert.FileExists(t, path+".1"+corruptSuffix)
	assert.Equal(t, found{lost: 1, damaged: f.damaged}, f, "at least one")
	r := &Record{Type: TypeMode}
	require.NoError(t, j.Append(r))
	assert.Greater(t, r.Seq, uint64(5))
}

func TestJournalDamageInAnOldSegment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	paths := intents(t, dir, 100, JournalOptions{SegmentSize: 1024, Segments: 100})
	require.Greater(t, len(paths), 3)
	second, err := os.ReadFile(paths[1])
	require.NoError(t, err)
	held := int(firstOf(paths[2]) - firstOf(paths[1]))
	require.Greater(t, held, 2)
	// The last frames are gone with the end of the file.
	require.NoError(t, os.Truncate(paths[1], int64(len(second)/2)))
	var f found
	opts := f.options()
	opts.SegmentSize, opts.Segments = 1024, 100
	j := openTest(t, dir, opts)
	open, _ := j.OpenIntents()
	assert.Equal(t, 100, len(open)+f.lost)
	assert.Positive(t, f.lost)
	r := &Record{Type: TypeMode}
	require.NoError(t, j.Append(r))
	assert.EqualValues(t, 101, r.Seq)
}

func TestJournalKeepsFewDamagedSegments(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	opts := JournalOptions{SegmentSize: 1024, Segments: 100}
	for _, path := range intents(t, dir, 200, opts) {
		overwrite(t, path, 20, []byte{0xff})
	}
	openTest(t, dir, opts)
	aside, err := filepath.Glob(filepath.Join(dir, "*"+corruptSuffix))
	require.NoError(t, err)
	assert.Len(t, aside, maxCorrupt)
}

func TestJournalRefusesAnotherFormat(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, segmentName(1))
	require.NoError(t, os.WriteFile(path, []byte("MGJRNL2\nvaluable records"), 0o600))
	_, err := OpenJournal(dir, JournalOptions{})
	require.ErrorIs(t, err, ErrJournalFormat)
	require.ErrorContains(t, err, path)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, "MGJRNL2\nvaluable records", string(text))
}

func TestJournalDoesNotBelieveAnImpossibleCursor(t *testing.T) {
	t.Parallel()
	for _, cursor := range []string{
		strconv.FormatUint(math.MaxUint64, 10), strconv.FormatUint(math.MaxUint64-1, 10), "1099511627776", "4", "", "three",
	} {
		t.Run(cursor, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			intents(t, dir, 3, JournalOptions{})
			require.NoError(t, os.WriteFile(filepath.Join(dir, cursorName), []byte(cursor), 0o600))
			var f found
			j := openTest(t, dir, f.options())
			assert.Len(t, f.damaged, 1)
			last := uint64(0)
			for range 3 {
				r := &Record{Type: TypeVerified, ID: "x"}
				require.NoError(t, j.Append(r))
				assert.Greater(t, r.Seq, max(last, 3))
				last = r.Seq
			}
			got, err := j.After(j.Cursor(), 10, true, func(*Record) bool { return true })
			require.NoError(t, err)
			assert.Len(t, got, 6, "all of them reach the audit")
			require.NoError(t, j.Delivered(last))
		})
	}
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, cursorName), []byte("7\n"), 0o600))
	var f found
	j := openTest(t, dir, f.options())
	assert.Empty(t, f.damaged, "the segments may have been pruned or moved away")
	r := &Record{Type: TypeMode}
	require.NoError(t, j.Append(r))
	assert.EqualValues(t, 8, r.Seq)
}

func TestJournalDeliversOnceThoughTheCursorCannotBeWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTest(t, dir, JournalOptions{})
	appendN(t, j, 2, TypeVerified)
	obstacle := filepath.Join(dir, cursorName+".new") // stands for a full or read-only disk
	require.NoError(t, os.Mkdir(obstacle, 0o700))
	all := func(*Record) bool { return true }
	got, err := j.After(j.Cursor(), 10, true, all)
	require.NoError(t, err)
	require.Len(t, got, 2)
	require.Error(t, j.Delivered(2))
	got, err = j.After(j.Cursor(), 10, true, all)
	require.NoError(t, err)
	assert.Empty(t, got, "not twice")
	require.NoError(t, os.Remove(obstacle))
	_, err = j.After(j.Cursor(), 10, true, all)
	require.NoError(t, err)
	onDisk, err := readCursor(dir)
	require.NoError(t, err)
	assert.EqualValues(t, 2, onDisk, "written as soon as it can be")
}

// stuckFile takes half of what is written to it, and cannot be cut.
type stuckFile struct {
	segmentFile
	stuck *bool
}

func (f stuckFile) Write(p []byte) (int, error) {
	if !*f.stuck || string(p) == segmentMagic {
		return f.segmentFile.Write(p)
	}
	n, _ := f.segmentFile.Write(p[:len(p)/2])
	return n, syscall.EIO
}

func (f stuckFile) Truncate(size int64) error {
	if *f.stuck {
		return syscall.EIO
	}
	return f.segmentFile.Truncate(size)
}

func TestJournalGoesOnAfterABrokenFirstFrame(t *testing.T) {
	t.Parallel()
	for _, keepFile := range []bool{false, true} {
		dir := t.TempDir()
		j := openTest(t, dir, JournalOptions{})
		stuck := true
		j.create = func(path string) (segmentFile, error) {
			file, err := createSegment(path)
			return stuckFile{file, &stuck}, err
		}
		require.ErrorIs(t, j.Append(&Record{Type: TypeMode}), syscall.EIO)
		stuck = false
		if keepFile { // as where it could not be removed
			j.segments = nil
		}
		appendN(t, j, 2, TypeMode)
		require.NoError(t, j.Close())
		j = openTest(t, dir, JournalOptions{})
		appendN(t, j, 1, TypeMode)
		records, torn := readAll(t, dir)
		assert.Zero(t, torn)
		require.Len(t, records, 3)
	}
}

func TestJournalBecomesAnother(t *testing.T) {
	t.Parallel()
	dir, other := t.TempDir(), t.TempDir()
	j := openTest(t, dir, JournalOptions{})
	appendN(t, j, 5, TypeProposed)
	o, err := OpenJournal(other, JournalOptions{})
	require.NoError(t, err)
	appendN(t, o, 1, TypeIntent)
	require.NoError(t, j.become(o))
	r := &Record{Type: TypeMode}
	require.NoError(t, j.Append(r))
	assert.EqualValues(t, 2, r.Seq)
	open, _ := j.OpenIntents()
	assert.Len(t, open, 1)
	openTest(t, dir, JournalOptions{}) // is free
	_, err = OpenJournal(other, JournalOptions{})
	require.ErrorIs(t, err, ErrJournalLocked)
	require.NoError(t, o.Close())
}
