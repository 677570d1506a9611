// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// Engine takes findings, watches the objects they are about, and repairs what
// its policies and every guard allow. One goroutine does all of it.
type Engine struct {
	set       Settings
	host      host
	env       environment
	kill      *KillSwitch
	protected Protected
	own       map[int32]bool // pids that are never touched: init, ours, our ancestors'
	queue     *queue
	ready     atomic.Bool
	rounds    atomic.Uint64
	audited   atomic.Bool
	news      chan struct{}

	journal *Journal
	standby bool // another collector has the journal of this directory
	lease   *fileLock
	control *controlServer
	diag    *sockdiag.Conn

	mu       sync.Mutex // guards what Status reads
	mode     Mode
	why      []string
	off      bool
	modeSaid bool

	targets  map[string]*target // of the worker
	lives    map[string]*life   // by instance id
	nTargets atomic.Int64
	nWatched atomic.Int64

	watches *watchTable
	limits  *limiter
	pending []*pendingAct
	done    map[doneKey]bool
	forgot  bool // done had no room for all acts of this boot
	now     func() time.Time
	stop    context.CancelFunc
	wait    sync.WaitGroup
	hook    func(stage string) // tests step in here
}

// NewEngine checks the settings. It touches nothing yet.
func NewEngine(set Settings) (*Engine, error) {
	set = set.withDefaults()
	if set.Directory == "" {
		return nil, errors.New("directory: must not be empty")
	}
	e := &Engine{
		set: set, host: host{procfs: procfs{root: "/proc"}},
		kill: NewKillSwitch(set.Directory), protected: DefaultProtected().plus(set.Protected),
		queue: newQueue(set.QueueSize), news: make(chan struct{}, 1), mode: ModeDryRun,
		targets: map[string]*target{}, lives: map[string]*life{}, limits: newLimiter(set.Limits), done: map[doneKey]bool{}, now: time.Now,
		hook: func(string) {},
	}
	e.watches = newWatchTable(set.MaxObjects, func() { e.count(CountWatchRefused, "", 1) })
	return e, nil
}

// Rounds is how many rounds the worker has ended.
func (e *Engine) Rounds() uint64 { return e.rounds.Load() }

// SetReady says whether the pipelines run: between them nothing is done.
func (e *Engine) SetReady(ready bool) { e.ready.Store(ready) }

// Propose implements leak.Remediator.
func (e *Engine) Propose(f leak.Finding) bool {
	if e.queue.put(f) {
		return true
	}
	e.count(CountQueueRefused, "", 1)
	return false
}

// Stop throws the kill switch. What is under way in the kernel ends; nothing
// after it begins.
func (e *Engine) Stop(by string) error {
	err := e.kill.Stop("stopped by " + by)
	e.note(&Record{Type: TypeStopped, Text: "kill switch thrown by " + by})
	return err
}

// Resume releases the kill switch.
func (e *Engine) Resume(by string) error {
	if err := e.kill.Start(); err != nil {
		return err
	}
	e.note(&Record{Type: TypeStarted, Text: "kill switch released by " + by})
	return nil
}

// Status says what the engine is about.
func (e *Engine) Status() Status {
	e.mu.Lock()
	s := Status{Mode: e.mode, Configured: e.set.Mode, Why: e.why}
	e.mu.Unlock()
	s.Findings, s.Watched = int(e.nTargets.Load()), int(e.nWatched.Load())
	s.Stopped, _ = e.kill.Thrown()
	s.Newest, s.Delivered = e.journal.Newest(), e.journal.Cursor()
	return s
}

func (e *Engine) work(ctx context.Context) {
	ticker := time.NewTicker(e.set.WatchInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			e.env.classified = classified(e.host.root)
			e.tick(ctx)
		}
	}
}

func (e *Engine) count(c Counter, attribute string, n int64) { e.set.Observer.Count(c, attribute, n) }

// note journals a record. It returns false where that failed: then nothing
// may be done on the strength of it.
func (e *Engine) note(r *Record) bool {
	if r.Mode == "" {
		r.Mode = e.inForce()
	}
	if r.Time.IsZero() {
		r.Time = e.now()
	}
	if err := e.journal.Append(r); err != nil {
		e.count(CountJournalErrors, "append", 1)
		return false
	}
	e.wakeAudit()
	return true
}

func (e *Engine) inForce() Mode {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.mode
}
