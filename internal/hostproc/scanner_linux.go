// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// life is one life of one process: from its start, or an exec, to its end or
// the next exec.
type life struct {
	Process

	id      uint64
	pid     int32
	parent  int32
	scan    uint64 // in which it was last seen
	layout  uint64
	comm    string
	wanted  bool
	asked   bool // for detail
	netns   uint64
	created time.Time

	refreshed  time.Time
	refreshes  int
	cgroupText string

	descriptors climber
	watches     climber
	heldUntil   time.Time

	sites    *siteTable
	objects  []int32
	walk     uint64 // number of the newest walk, 0 before the first
	walkScan uint64
	walked   time.Time
	denied   time.Time // when descriptors were refused
	detail   Detail
}

// Scanner reads all processes of a host. It is for one goroutine.
type Scanner struct {
	opts    Options
	be      backend
	proc    *procfs
	owners  *owners
	sockets *sockets
	objects *objectTable
	boot    time.Time
	netns   uint64

	lives  map[int32]*life
	nextID uint64
	scan   uint64
	now    time.Time
	stats  Stats
	out    []*Process
	queue  []*life
	debt   int64 // descriptors read beyond the budgets so far
	walker walker

	measureFn func(*record) bool
	takeFn    func(*record)
}

// New opens the procfs of the host whose root is mounted at opts.Root.
func New(opts Options) (*Scanner, error) {
	if err := opts.defaults(); err != nil {
		return nil, err
	}
	s := &Scanner{opts: opts, lives: map[int32]*life{}}
	dir := filepath.Join(opts.Root, "proc")
	boot, err := readBootTime(dir)
	if err != nil {
		return nil, err
	}
	s.boot = boot
	if s.proc, err = openProcfs(dir, &s.stats); err != nil {
		return nil, err
	}
	s.be = s.proc
	s.netns = ownNetns()
	s.owners = newOwners(opts.Root)
	s.sockets = newSockets(opts.MaxObjects, &s.stats)
	s.objects = newObjectTable(opts.MaxObjects)
	s.measureFn, s.takeFn = s.measure, s.take
	s.walker.visitFn = s.visit
	return s, nil
}

// Backend names where the facts come from: "procfs".
func (s *Scanner) Backend() string { return s.be.name() }

// Close gives the descriptors of the scanner back. More calls do nothing.
func (s *Scanner) Close() error {
	return errors.Join(s.be.close(), s.sockets.close())
}

// Stats returns what the newest scan did.
func (s *Scanner) Stats() Stats { return s.stats }

// Scan reads every process once. The result is valid until the next scan. An
// error means that the process table itself could not be read; trouble with
// one process is counted in Stats.
func (s *Scanner) Scan(now time.Time) ([]*Process, error) {
	s.scan++
	s.now = now
	s.stats = Stats{}
	s.out = s.out[:0]
	s.queue = s.queue[:0]
	s.sockets.reset()
	if err := s.be.each(s.measureFn, s.takeFn); err != nil {
		return nil, fmt.Errorf("scan: %w", err)
	}
	for _, l := range s.lives {
		if l.scan != s.scan {
			s.end(l)
		}
	}
	if s.opts.Detail {
		s.detail()
	}
	s.stats.Processes = len(s.out)
	s.stats.Lives = len(s.lives)
	s.stats.Objects = s.objects.len()
	return s.out, nil
}

// measure finds the life of a process and reports whether it is wanted.
func (s *Scanner) measure(r *record) bool {
	l := s.lives[r.pid]
	if l != nil && l.Identity.StartTicks != r.startTicks {
		s.end(l)
		l = nil
	}
	if l != nil && (l.layout != r.layout || l.comm != string(r.comm)) {
		l = s.recheck(l, r)
	}
	if l == nil {
		if l = s.begin(r); l == nil {
			return false
		}
	} else if l.parent = r.parent; l.scan != s.scan && l.stale(s.now) {
		if l = s.recheck(l, r); l == nil {
			l = s.begin(r)
		} else {
			s.refresh(l, s.now)
		}
	}
	if l == nil {
		return false
	}
	l.scan = s.scan
	if !l.wanted {
		s.stats.Excluded++
	}
	return l.wanted
}

// recheck looks whether a life went on in another program. It returns nil
// where it ended. Of a program that may not be read only the name is known,
// which a program may change itself: there exec cannot be told, and the life
// goes on under its new name.
func (s *Scanner) recheck(l *life, r *record) *life {
	dev, ino := s.proc.exeIdentity(l.pid)
	if dev != l.Identity.ExeDev || ino != l.Identity.ExeIno {
		s.end(l)
		return nil
	}
	l.layout = r.layout
	if l.comm == string(r.comm) {
		return l
	}
	l.comm = string(r.comm)
	if l.Facts.Path == "" { // all that is known of the program
		f := l.Facts
		f.Name = cleanText(l.comm)
		s.setFacts(l, f)
	}
	return l
}

func (s *Scanner) begin(r *record) *life {
	if len(s.lives) >= s.opts.MaxProcesses {
		s.stats.Refused++
		return nil
	}
	s.nextID++
	l := &life{
		id: s.nextID, pid: r.pid, parent: r.parent, layout: r.layout, comm: string(r.comm),
		created: s.boot.Add(time.Duration(r.startTicks) * time.Second / userHZ),
	}
	l.Created = l.created
	l.Identity = leak.Identity{HostID: s.opts.HostID, BootID: s.opts.BootID, PID: r.pid, StartTicks: r.startTicks}
	l.Identity.ExeDev, l.Identity.ExeIno = s.proc.exeIdentity(r.pid)
	l.InstanceID = l.Identity.InstanceID()
	s.readFacts(l, s.now)
	s.lives[r.pid] = l
	return l
}

func (s *Scanner) end(l *life) {
	for _, at := range l.objects {
		s.objects.remove(at)
	}
	l.objects = nil
	delete(s.lives, l.pid)
}

// take stores what was measured.
func (s *Scanner) take(r *record) {
	l := s.lives[r.pid]
	p := &l.Process
	p.Descriptors = r.descriptors
	p.Threads = r.threads
	p.UserTime = time.Duration(r.userTicks) * (time.Second / userHZ)
	p.SystemTime = time.Duration(r.systemTicks) * (time.Second / userHZ)
	p.Virtual = r.virtualBytes
	p.Resident = r.residentPages * s.proc.pageSize
	p.Anonymous = max(r.residentPages-r.sharedPages, 0) * s.proc.pageSize
	p.Detail = nil
	if p.Descriptors > p.DescriptorLimit && p.DescriptorLimit > 0 {
		s.readLimits(l) // lowered below use, or raised meanwhile
	}
	s.out = append(s.out, p)
	if s.opts.Detail {
		s.queue = append(s.queue, l)
	}
}

// readBootTime reads when the host started. It is read once: the kernel
// computes it anew from the wall clock, and identities must not move.
func readBootTime(dir string) (time.Time, error) {
	text, err := os.ReadFile(filepath.Join(dir, "stat"))
	if err != nil {
		return time.Time{}, fmt.Errorf("read boot time: %w", err)
	}
	return parseBootTime(text)
}
