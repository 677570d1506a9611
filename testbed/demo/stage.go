// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/otel-memguard/memguard/testbed/load"
	"github.com/otel-memguard/memguard/testbed/rig"
)

// What the two servers do. Their twin operations are the same; only the leaky
// one keeps what it opens.
const (
	leakyName  = "leaky-shop"
	fixedName  = "fixed-shop"
	leaks      = "close_wait=2/s"
	uses       = "close_wait=4/s"
	poolSize   = 16
	loadRate   = 60
	timeScale  = 60
	enoughShut = 20 // repairs after which nothing new would be shown
	settle     = 8 * time.Second
)

// stage holds all that was started, and ends it.
type stage struct {
	opts options
	dir  string
	out  *printer

	sink      *rig.Sink
	upstream  *rig.Child
	leaky     *rig.Target
	fixed     *rig.Target
	collector *rig.Child

	cancelLoad context.CancelFunc
	loads      [2]chan load.Summary
	runners    [2]*load.Runner
	first      [2]rig.Truth
	began      time.Time
	printed    int // events printed so far
	stopped    bool
}

func (s *stage) start(ctx context.Context) error {
	collector, err := absolute(s.opts.collector)
	if err != nil {
		return err
	}
	config, err := absolute(s.opts.config)
	if err != nil {
		return err
	}
	s.out.title("A server that leaks, its fixed twin, and a collector that watches both")
	targets, err := rig.Targets(ctx, s.opts.targets, s.dir)
	if err != nil {
		return err
	}
	if s.sink, err = rig.NewSink(ctx); err != nil {
		return err
	}
	if err := s.startServers(ctx, targets); err != nil {
		return err
	}
	if err := s.startLoad(ctx); err != nil {
		return err
	}
	if err := s.startCollector(ctx, collector, config); err != nil {
		return err
	}
	s.began = time.Now()
	s.out.began = s.began
	return nil
}

func (s *stage) startServers(ctx context.Context, targets string) error {
	up, hello, err := rig.StartUpstream(ctx, targets, s.dir, nil)
	if err != nil {
		return err
	}
	s.upstream = up
	args := []string{"--leak", leaks, "--use", uses, "--pool", strconv.Itoa(poolSize), "--dir", s.dir}
	if s.leaky, err = rig.StartLeaky(ctx, targets, s.dir, leakyName, hello, nil, args...); err != nil {
		return err
	}
	if s.fixed, err = rig.StartLeaky(ctx, targets, s.dir, fixedName, hello, nil, append(args, "--fixed")...); err != nil {
		return err
	}
	s.out.note("upstream    pid %-7d serves both", up.PID)
	s.out.note("%s  pid %-7d leaks %s: a proxy that never closes its upstream half (%s)", leakyName, s.leaky.PID, leaks, hello.Closing)
	s.out.note("%s  pid %-7d the same work, everything closed", fixedName, s.fixed.PID)
	s.out.note("each holds a pool of %d keep-alive connections, never used: idler than any leak", poolSize)
	for i, target := range []*rig.Target{s.leaky, s.fixed} {
		if s.first[i], err = target.Truth(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (s *stage) startLoad(ctx context.Context) error {
	loadCtx, cancel := context.WithCancel(ctx)
	s.cancelLoad = cancel
	for i, target := range []*rig.Target{s.leaky, s.fixed} {
		runner, err := load.New(load.Config{
			URL: target.URL("/work"), Workers: 4, Rate: loadRate, Duration: time.Hour, Timeout: 5 * time.Second,
		})
		if err != nil {
			return err
		}
		s.runners[i], s.loads[i] = runner, make(chan load.Summary, 1)
		go func() { s.loads[i] <- runner.Run(loadCtx) }()
	}
	s.out.note("load        %d requests/s on each, 4 connections, no retries", loadRate)
	return nil
}

func (s *stage) startCollector(ctx context.Context, path, config string) error {
	prometheus, err := rig.FreePort(ctx)
	if err != nil {
		return err
	}
	telemetry, err := rig.FreePort(ctx)
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(telemetry, ":")
	sole, lost := privileges()
	state := filepath.Join(s.dir, "state")
	if err := os.Mkdir(state, 0o700); err != nil {
		return err
	}
	s.collector, _, err = rig.Start(ctx, rig.Spec{
		Name: "collector", Path: path, Args: []string{"--config", config}, Dir: s.dir,
		Env: []string{
			"MEMGUARD_DIR=" + state, "MEMGUARD_RUNTIME_DIR=" + state,
			"MEMGUARD_OTLP_ENDPOINT=" + s.sink.Endpoint,
			"MEMGUARD_PROMETHEUS_ENDPOINT=" + prometheus,
			"MEMGUARD_TELEMETRY_HOST=" + host, "MEMGUARD_TELEMETRY_PORT=" + port,
			"MEMGUARD_WATCH=" + filepath.Join(s.dir, "*-shop"), "MEMGUARD_TARGET=" + filepath.Join(s.dir, leakyName),
			"MEMGUARD_MODE=enforce", fmt.Sprintf("MEMGUARD_TIME_SCALE=%d", timeScale), "MEMGUARD_SOLE_HOLDER=" + sole,
		},
	})
	if err != nil {
		return err
	}
	s.out.note("collector   pid %-7d mode enforce, its policy allows socket.shutdown in %s only", s.collector.PID, leakyName)
	s.out.note("time_scale  %d: every wait of the detector is divided by it, so that you need not wait for hours", timeScale)
	for _, line := range lost {
		s.out.note("%s", line)
	}
	return nil
}

// play prints events as they come until the show is over: enough repairs and
// a moment of calm, or the time is up.
func (s *stage) play(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.opts.duration)
	defer cancel()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var calm time.Time
	for {
		changed := s.printNew()
		select {
		case <-ctx.Done():
			return
		case <-s.collector.Ended():
			s.out.note("the collector ended: %v", s.collector.Exit())
			return
		case <-changed:
		case <-ticker.C:
			truth, err := s.leaky.Truth(ctx)
			if err != nil {
				s.out.note("%s does not answer: %v", leakyName, err)
				continue
			}
			s.out.progress(&truth, s.runners[0].Summary())
			if truth.Count("close") < enoughShut || !confirmed(s.sink.Events(), s.leaky.PID) {
				continue
			}
			if calm.IsZero() {
				calm = time.Now()
			}
			if time.Since(calm) > settle {
				return
			}
		}
	}
}

// printNew prints the events that came since the last call. The channel is
// closed when more come.
func (s *stage) printNew() <-chan struct{} {
	events, changed := s.sink.Since(s.printed)
	for i := range events {
		s.out.event(&events[i])
	}
	s.printed += len(events)
	return changed
}

// gather collects the evidence while the servers are still running: what the
// client saw, the servers' own account and the kernel's. The collector is
// ended first, so that nothing moves while the two are compared.
func (s *stage) gather(ctx context.Context) *evidence {
	s.out.flush()
	e := &evidence{took: time.Since(s.began), collectorAlive: s.collector.Alive()}
	e.errs = append(e.errs, s.collector.Stop(10*time.Second))
	s.printNew()
	s.out.flush()
	s.cancelLoad()
	for i := range s.loads {
		e.servers[i].load = <-s.loads[i]
	}
	s.loads = [2]chan load.Summary{}
	table, err := rig.TCPTable()
	e.errs = append(e.errs, err)
	byInode := make(map[uint64]rig.TCPEntry, len(table))
	for _, entry := range table {
		byInode[entry.Inode] = entry
	}
	for i, target := range []*rig.Target{s.leaky, s.fixed} {
		server := &e.servers[i]
		server.name, server.pid = target.Name, target.PID
		truth, err := target.Truth(ctx)
		e.errs = append(e.errs, err)
		server.truth = truth
		server.poolKept = samePool(s.first[i].Pool, truth.Pool)
		server.shut, server.disputed = shutInKernel(truth.Leaked, byInode)
		server.poolErr = target.CheckPool(ctx)
	}
	e.events = s.sink.Events()
	return e
}

// stop ends what was started, in the reverse order. It is safe to call twice.
func (s *stage) stop(ctx context.Context) {
	if s.stopped {
		return
	}
	s.stopped = true
	if s.cancelLoad != nil {
		s.cancelLoad()
	}
	for _, done := range s.loads {
		if done != nil {
			<-done
		}
	}
	var errs []error
	end := func(c *rig.Child) {
		if c != nil {
			if err := c.Stop(10 * time.Second); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", c.Name, err))
			}
		}
	}
	end(s.collector)
	if s.leaky != nil {
		end(s.leaky.Child)
	}
	if s.fixed != nil {
		end(s.fixed.Child)
	}
	end(s.upstream)
	if s.sink != nil {
		errs = append(errs, s.sink.Close(context.WithoutCancel(ctx)))
	}
	if err := errors.Join(errs...); err != nil {
		s.out.note("on stopping: %v", err)
	}
}
