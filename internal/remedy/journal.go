// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// JournalDirectory is the journal's place in the directory of auto_fix.
const JournalDirectory = "journal"

const lockName = "lock"

// Bounds of a journal that was given none.
const (
	DefaultSegmentSize = 8 << 20 // bytes
	DefaultSegments    = 16
)

// hardFactor is how often the bound on segments may be exceeded to keep what
// was not delivered or has no outcome.
const hardFactor = 2

// JournalOptions bound a journal.
type JournalOptions struct {
	SegmentSize int64 // bytes after which a new segment begins
	Segments    int   // kept at most, unless undelivered records or open intents need more, then twice as many
	// KeepUndelivered keeps segments whose records the audit has not delivered.
	KeepUndelivered bool
	// Lost is told how many undelivered or open records the bound cost, and
	// how many a damaged segment did, as far as that can be known.
	Lost func(records int)
	// Damaged is told what was found damaged when the journal was opened.
	Damaged func(what string)
	// Replay is called for each record when the journal is opened.
	Replay func(*Record)
}

type segment struct {
	path        string
	first, last uint64 // sequence numbers; last < first where empty
}

// segmentFile is what a journal needs of *os.File.
type segmentFile interface {
	Write(p []byte) (int, error)
	Truncate(size int64) error
	Sync() error
	Close() error
}

// Journal is an append-only sequence of records in segment files. One writer
// has it open at a time: it holds a lock. It is safe for concurrent use.
type Journal struct {
	mu       sync.Mutex
	dir      string
	opts     JournalOptions
	lock     *fileLock
	segments []segment
	file     segmentFile
	size     int64
	next     uint64
	cursor   uint64
	saved    uint64            // the cursor on the disk
	open     map[string]Record // intents without an outcome, by id
	applied  map[string]Record // of those, the ones that were applied
	buf      []byte
	broken   bool
	syncErr  error // of a sync since the last Sync
	create   func(path string) (segmentFile, error)
	readPos  position
}

// position is where the audit goes on reading: after record seq, if all that
// is wanted up to low was delivered.
type position struct {
	low, seq uint64
	path     string
	offset   int64
}

// ErrJournalLocked means that another process has the journal open.
var ErrJournalLocked = errors.New("journal is in use by another collector")

// OpenJournal opens or creates the journal in dir, cuts a torn tail off, puts
// damaged segments aside, and reads which intents have no outcome. It returns
// ErrJournalLocked, or ErrJournalFormat where another version wrote.
func OpenJournal(dir string, opts JournalOptions) (*Journal, error) {
	if opts.SegmentSize <= 0 {
		opts.SegmentSize = DefaultSegmentSize
	}
	if opts.Segments <= 0 {
		opts.Segments = DefaultSegments
	}
	if opts.Lost == nil {
		opts.Lost = func(int) {}
	}
	if opts.Damaged == nil {
		opts.Damaged = func(string) {}
	}
	if opts.Replay == nil {
		opts.Replay = func(*Record) {}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create journal directory: %w", err)
	}
	lock, err := lockFile(filepath.Join(dir, lockName))
	if err != nil {
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("%w: %s", ErrJournalLocked, dir)
		}
		return nil, err
	}
	j := &Journal{
		dir: dir, opts: opts, lock: lock, next: 1,
		open: map[string]Record{}, applied: map[string]Record{}, create: createSegment,
	}
	if err := j.load(); err != nil {
		_ = lock.Close()
		return nil, err
	}
	return j, nil
}

func createSegment(path string) (segmentFile, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY|os.O_APPEND, 0o600)
}

// Append writes a record and gives it its number. It is on disk after Sync.
func (j *Journal) Append(r *Record) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r.Time.IsZero() {
		r.Time = time.Now()
	}
	frame, err := j.frame(r)
	if err != nil {
		return err
	}
	if n, err := j.file.Write(frame); err != nil {
		if n > 0 {
			if cut := j.file.Truncate(j.size); cut != nil {
				// A frame behind half a frame could not be read again.
				j.broken = true
			}
		}
		return fmt.Errorf("write journal: %w", err)
	}
	j.size += int64(len(frame))
	j.next++
	j.segments[len(j.segments)-1].last = r.Seq
	j.track(r)
	return nil
}

// frame gives the record its number, and makes room for it.
func (j *Journal) frame(r *Record) ([]byte, error) {
	for {
		r.Seq = j.next
		frame, err := appendFrame(j.buf[:0], r)
		if err != nil {
			return nil, err
		}
		j.buf = frame[:0]
		if err := j.room(int64(len(frame))); err != nil {
			return nil, err
		}
		if r.Seq == j.next { // room may have to pass a number over
			return frame, nil
		}
	}
}

// room makes sure that a segment is open which can take size bytes.
func (j *Journal) room(size int64) error {
	if j.lock == nil {
		return os.ErrClosed
	}
	if j.file != nil && !j.broken && (j.size+size <= j.opts.SegmentSize || j.size <= int64(len(segmentMagic))) {
		return nil
	}
	if err := j.closeSegment(); err != nil {
		return err
	}
	j.dropEmpty()
	path := filepath.Join(j.dir, segmentName(j.next))
	file, err := j.create(path)
	if errors.Is(err, os.ErrExist) {
		// What could not be removed must not stand in the way until a restart.
		j.next++
		path = filepath.Join(j.dir, segmentName(j.next))
		file, err = j.create(path)
	}
	if err != nil {
		return fmt.Errorf("create journal segment: %w", err)
	}
	if _, err := file.Write([]byte(segmentMagic)); err != nil {
		_ = file.Close()
		_ = os.Remove(path)
		return fmt.Errorf("write journal: %w", err)
	}
	j.file, j.size, j.broken = file, int64(len(segmentMagic)), false
	j.segments = append(j.segments, segment{path: path, first: j.next, last: j.next - 1})
	j.prune()
	return j.synced(syncDir(j.dir))
}

// synced remembers a failed sync until Sync has told it: the kernel reports an
// error of writing back once, to whoever asks first, and what was appended
// before is not on the disk for it. Writing goes on in a new segment.
func (j *Journal) synced(err error) error {
	if err != nil {
		j.syncErr, j.broken = err, true
	}
	return err
}

// dropEmpty removes the newest segment if its first frame never became whole:
// the next one has the same name.
func (j *Journal) dropEmpty() {
	n := len(j.segments)
	if n == 0 || j.segments[n-1].last >= j.segments[n-1].first {
		return
	}
	_ = os.Remove(j.segments[n-1].path)
	j.segments = j.segments[:n-1]
}

func (j *Journal) closeSegment() error {
	if j.file == nil {
		return nil
	}
	file := j.file
	j.file = nil
	syncErr := j.synced(file.Sync())
	if err := errors.Join(syncErr, file.Close()); err != nil {
		return fmt.Errorf("close journal segment: %w", err)
	}
	return nil
}

// Sync brings every record so far to the disk. An error means that some of
// those since the last Sync may not be there.
func (j *Journal) Sync() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.file != nil {
		_ = j.synced(j.file.Sync())
	}
	err := j.syncErr
	j.syncErr = nil
	if err != nil {
		return fmt.Errorf("sync journal: %w", err)
	}
	return nil
}

// OpenIntents returns the intents that have no outcome, and of each the record
// of the act, if it got that far.
func (j *Journal) OpenIntents() (intents []Record, applied map[string]Record) {
	j.mu.Lock()
	defer j.mu.Unlock()
	applied = make(map[string]Record, len(j.applied))
	for id, r := range j.open {
		intents = append(intents, r)
		if a, ok := j.applied[id]; ok {
			applied[id] = a
		}
	}
	return intents, applied
}

// KeepUndelivered says that an audit reads the journal, so that what it has
// not delivered is kept longer.
func (j *Journal) KeepUndelivered() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.opts.KeepUndelivered = true
}

// Newest returns the number of the newest record, 0 where there is none.
func (j *Journal) Newest() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next - 1
}

// Close syncs and closes the journal. More calls do nothing.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.lock == nil {
		return nil
	}
	err := errors.Join(j.saveCursor(), j.closeSegment(), j.lock.Close())
	j.lock = nil
	return err
}

// become makes j the journal other, which is not to be used any more, and
// closes what j was: whoever holds j goes on with it.
func (j *Journal) become(other *Journal) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	other.mu.Lock()
	defer other.mu.Unlock()
	err := errors.Join(j.saveCursor(), j.closeSegment(), j.lock.Close())
	other.opts.KeepUndelivered = j.opts.KeepUndelivered
	j.dir, j.opts, j.lock = other.dir, other.opts, other.lock
	j.segments, j.file, j.size, j.broken, j.syncErr = other.segments, other.file, other.size, other.broken, other.syncErr
	j.next, j.cursor, j.saved, j.readPos = other.next, other.cursor, other.saved, position{}
	j.open, j.applied, j.create = other.open, other.applied, other.create
	other.lock, other.file = nil, nil
	return err
}

// HasJournal reports whether a collector ever used the directory of auto_fix.
func HasJournal(dir string) bool {
	_, err := os.Lstat(filepath.Join(dir, JournalDirectory, lockName))
	return err == nil
}
