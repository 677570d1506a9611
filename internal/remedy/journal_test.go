// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func openTest(t *testing.T, dir string, opts JournalOptions) *Journal {
	t.Helper()
	j, err := OpenJournal(dir, opts)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, j.Close()) })
	return j
}

func readAll(t *testing.T, dir string) (records []Record, torn int) {
	t.Helper()
	torn, err := ReadJournal(dir, 1, func(r *Record) { records = append(records, *r) })
	require.NoError(t, err)
	return records, torn
}

func appendN(t *testing.T, j *Journal, n int, typ Type) {
	t.Helper()
	for range n {
		require.NoError(t, j.Append(&Record{Type: typ, ID: "id", Text: strings.Repeat("x", 100)}))
	}
}

func lastSegment(t *testing.T, dir string) string {
	t.Helper()
	paths, err := segmentPaths(dir)
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	return paths[len(paths)-1]
}

func TestJournalGoesOnAfterRestart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTest(t, dir, JournalOptions{})
	appendN(t, j, 3, TypeProposed)
	require.NoError(t, j.Sync())
	require.NoError(t, j.Close())
	require.NoError(t, j.Close(), "twice")
	j = openTest(t, dir, JournalOptions{})
	appendN(t, j, 2, TypeProposed)
	records, torn := readAll(t, dir)
	require.Len(t, records, 5)
	assert.Zero(t, torn)
	for i, r := range records {
		assert.EqualValues(t, i+1, r.Seq)
	}
	paths, err := segmentPaths(dir)
	require.NoError(t, err)
	assert.Len(t, paths, 1, "a restart uses no segment up")
}

func TestJournalHasOneWriter(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	openTest(t, dir, JournalOptions{})
	_, err := OpenJournal(dir, JournalOptions{})
	require.ErrorIs(t, err, ErrJournalLocked)
}

func TestJournalCutsATornTailAtEveryLength(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTest(t, dir, JournalOptions{})
	appendN(t, j, 2, TypeProposed)
	require.NoError(t, j.Close())
	path := lastSegment(t, dir)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for cut := range whole {
		torn := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(torn, filepath.Base(path)), whole[:cut], 0o600))
		before, _ := readAll(t, torn)
		j, err := OpenJournal(torn, JournalOptions{})
		require.NoError(t, err, "cut at %d", cut)
		require.NoError(t, j.Append(&Record{Type: TypeProposed, Text: "after"}))
		require.NoError(t, j.Close())
		after, bad := readAll(t, torn)
		assert.Zero(t, bad, "cut at %d", cut)
		require.Len(t, after, len(before)+1, "cut at %d", cut)
		assert.Equal(t, "after", after[len(after)-1].Text)
		assert.EqualValues(t, len(before)+1, after[len(after)-1].Seq)
	}
}

func TestJournalReaderLeavesATornTail(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTest(t, dir, JournalOptions{})
	appendN(t, j, 2, TypeProposed)
	require.NoError(t, j.Close())
	path := lastSegment(t, dir)
	file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	_, err = file.WriteString("half a frame")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	records, torn := readAll(t, dir)
	assert.Len(t, records, 2)
	assert.Equal(t, 1, torn)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, before, after)
}

func TestJournalIsBounded(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lost := 0
	j := openTest(t, dir, JournalOptions{SegmentSize: 1024, Segments: 3, Lost: func(n int) { lost += n }})
	appendN(t, j, 200, TypeProposed)
	paths, err := segmentPaths(dir)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(paths), 3)
	assert.Zero(t, lost, "nobody waits for these")
	records, _ := readAll(t, dir)
	assert.EqualValues(t, 200, records[len(records)-1].Seq)
}

func TestJournalKeepsWhatIsNeededUpToTheHardBound(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	lost := 0
	j := openTest(t, dir, JournalOptions{SegmentSize: 1024, Segments: 3, Lost: func(n int) { lost += n }})
	require.NoError(t, j.Append(&Record{Type: TypeIntent, ID: "open"}))
	appendN(t, j, 25, TypeProposed)
	records, _ := readAll(t, dir)
	assert.EqualValues(t, 1, records[0].Seq, "an intent without an outcome stays")
	intents, _ := j.OpenIntents()
	require.Len(t, intents, 1)
	appendN(t, j, 200, TypeProposed)
	paths, err := segmentPaths(dir)
	require.NoError(t, err)
	assert.LessOrEqual(t, len(paths), 3*hardFactor)
	assert.Positive(t, lost, "and what the bound cost is counted")

	dir = t.TempDir()
	j = openTest(t, dir, JournalOptions{SegmentSize: 1024, Segments: 3, KeepUndelivered: true})
	appendN(t, j, 25, TypeProposed)
	records, _ = readAll(t, dir)
	assert.EqualValues(t, 1, records[0].Seq, "undelivered records stay")
	require.NoError(t, j.Delivered(25))
	appendN(t, j, 10, TypeProposed)
	records, _ = readAll(t, dir)
	assert.Greater(t, records[0].Seq, uint64(1))
}

func TestJournalCursor(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := openTest(t, dir, JournalOptions{SegmentSize: 1024, Segments: 50})
	all := func(*Record) bool { return true }
	appendN(t, j, 40, TypeProposed)
	first, err := j.After(j.Cursor(), 15, true, all)
	require.NoError(t, err)
	require.Len(t, first, 15)
	again, err := j.After(j.Cursor(), 15, true, all)
	require.NoError(t, err)
	assert.Equal(t, first, again, "not delivered yet")
	require.NoError(t, j.Delivered(first[14].Seq))
	require.NoError(t, j.Delivered(3), "never back")
	assert.EqualValues(t, 15, j.Cursor())
	require.Error(t, j.Delivered(41), "there is none such")
	rest, err := j.After(j.Cursor(), 100, true, all)
	require.NoError(t, err)
	require.Len(t, rest, 25)
	assert.EqualValues(t, 16, rest[0].Seq)
	require.NoError(t, j.Delivered(40))
	require.NoError(t, j.Close())
	j = openTest(t, dir, JournalOptions{SegmentSize: 1024, Segments: 50})
	assert.EqualValues(t, 40, j.Cursor())
	none, err := j.After(j.Cursor(), 100, true, all)
	require.NoError(t, err)
	assert.Empty(t, none)
	appendN(t, j, 1, TypeProposed)
	news, err := j.After(j.Cursor(), 100, true, all)
	require.NoError(t, err)
	require.Len(t, news, 1)
	assert.EqualValues(t, 41, news[0].Seq)
}

// fullDisk takes so many bytes, then none.
type fullDisk struct {
	segmentFile
	left *int
}

func (f fullDisk) Write(p []byte) (int, error) {
	if len(p) <= *f.left {
		*f.left -= len(p)
		return f.segmentFile.Write(p)
	}
	n, _ := f.segmentFile.Write(p[:*f.left])
	*f.left = 0
	return n, syscall.ENOSPC
}

func TestJournalOnAFullDiskLosesNothingItTook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	left := 1000
	j := openTest(t, dir, JournalOptions{})
	j.create = func(path string) (segmentFile, error) {
		file, err := createSegment(path)
		return fullDisk{file, &left}, err
	}
	var err error
	taken := 0
	for err == nil {
		if err = j.Append(&Record{Type: TypeIntent, ID: "x", Text: strings.Repeat("y", 90)}); err == nil {
			taken++
		}
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	left = 1 << 20
	appendN(t, j, 1, TypeProposed)
	records, torn := readAll(t, dir)
	assert.Zero(t, torn)
	assert.Len(t, records, taken+1, "no half record in between")
}

func FuzzJournalDecoder(f *testing.F) {
	var whole []byte
	whole = append(whole, segmentMagic...)
	whole, err := appendFrame(whole, &Record{Seq: 1, Type: TypeIntent, ID: "x", Object: &Object{FD: 3}})
	require.NoError(f, err)
	f.Add(whole)
	f.Add(whole[:len(whole)-3])
	f.Add(append(append([]byte(segmentMagic), "noise"...), whole[len(segmentMagic):]...))
	f.Add([]byte(segmentMagic + "\xff\xff\xff\xff0000"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var records []Record
		end, err := readFrames(bytes.NewReader(data), func(r *Record) { records = append(records, *r) })
		if errors.Is(err, ErrJournalFormat) {
			return
		}
		if err != nil && !errors.Is(err, errTorn) {
			t.Fatal("an error of its own kind:", err)
		}
		// What is put in the place of damage reads cleanly, and lacks none of these.
		kept := len(records)
		s := salvageFrames(data, int(end), func(*Record) { kept++ })
		again := 0
		_, mended := readFrames(bytes.NewReader(s.whole), func(*Record) { again++ })
		require.NoError(t, mended)
		assert.Equal(t, kept, again)
		if end > int64(len(data)) {
			t.Fatal("an end beyond the data")
		}
		if err == nil {
			return
		}
		// What is left after cutting reads as the same records, cleanly.
		if end >= int64(len(segmentMagic)) {
			n := 0
			again, err := readFrames(bytes.NewReader(data[:end]), func(*Record) { n++ })
			require.NoError(t, err)
			assert.Equal(t, end, again)
			assert.Len(t, records, n)
		}
	})
}

func BenchmarkJournalAppend(b *testing.B) {
	j, err := OpenJournal(b.TempDir(), JournalOptions{})
	require.NoError(b, err)
	var guards Verdicts
	for g := range Guard(14) {
		guards.pass(g, "watched for 10m0s without a byte")
	}
	r := Record{Type: TypeProposed, ID: "0123456789abcdef", Object: &Object{FD: 7, Inode: 1, Cookie: 2}, Guards: guards}
	b.ReportAllocs()
	for b.Loop() {
		if err := j.Append(&r); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, j.Close())
}

// unsyncedFile fails its next sync.
type unsyncedFile struct {
	segmentFile
	fail *bool
}

func (f *unsyncedFile) Sync() error {
	if *f.fail {
		*f.fail = false // the kernel tells an error of writing back once
		return syscall.EIO
	}
	return f.segmentFile.Sync()
}

// An error of the disk that the audit's cursor met first still reaches the one
// who is about to act on what was appended before.
func TestAFailedSyncIsToldToWhoeverSyncs(t *testing.T) {
	t.Parallel()
	j, err := OpenJournal(t.TempDir(), JournalOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close() })
	fail := false
	create := j.create
	j.create = func(path string) (segmentFile, error) {
		file, err := create(path)
		return &unsyncedFile{segmentFile: file, fail: &fail}, err
	}
	require.NoError(t, j.Append(&Record{Type: TypeProposed}))
	require.NoError(t, j.Sync())
	require.NoError(t, j.Append(&Record{Type: TypeIntent, ID: "a"}))
	fail = true
	require.ErrorIs(t, j.Delivered(1), syscall.EIO)
	require.ErrorIs(t, j.Sync(), syscall.EIO, "the intent may not be on the disk")
	require.NoError(t, j.Append(&Record{Type: TypeIntent, ID: "b"}))
	require.NoError(t, j.Sync(), "a new segment")
	require.NoError(t, j.Delivered(1))
}
