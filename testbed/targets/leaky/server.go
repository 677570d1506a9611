// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

type config struct {
	listen     string
	upstream   string // answers HTTP and keeps connections
	closing    string // answers one line and closes
	poolServer string // keeps connections open and echoes lines
	poolSize   int
	dir        string
	leaks      plan
	uses       plan
	hold       time.Duration
	maxKept    int
	workers    int
	fixed      bool
}

type server struct {
	cfg     config
	client  *http.Client
	ledger  *ledger
	pool    *pool
	workers *workers
	openers map[string]opener
	served  atomic.Int64
	failed  atomic.Int64
	wg      sync.WaitGroup
	cleanup []io.Closer
}

func newServer(ctx context.Context, cfg config) (*server, error) {
	transport := &http.Transport{MaxIdleConnsPerHost: 64, ResponseHeaderTimeout: 5 * time.Second}
	s := &server{
		cfg:     cfg,
		client:  &http.Client{Transport: transport},
		ledger:  newLedger(cfg.maxKept),
		workers: &workers{},
	}
	var err error
	if s.pool, err = openPool(ctx, cfg.poolServer, cfg.poolSize); err != nil {
		return nil, err
	}
	watch, instance, err := openWatch(cfg.dir)
	if err != nil {
		return nil, err
	}
	s.cleanup = append(s.cleanup, instance)
	s.openers = map[string]opener{
		kindCloseWait: openProxied(cfg.closing),
		kindUnread:    openUnread(s.client, "http://"+cfg.upstream+"/large"),
		kindFile:      openFile(cfg.dir),
		kindGoroutine: openGoroutine(),
		kindInotify:   watch,
		kindTimer:     openTimer(),
		kindCache:     openCache(),
	}
	return s, nil
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /work", s.work)
	mux.HandleFunc("GET /truth", s.truth)
	mux.HandleFunc("GET /pool/check", s.checkPool)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	return mux
}

// work is the useful part: ask the upstream, digest what it says, answer.
func (s *server) work(w http.ResponseWriter, r *http.Request) {
	digest, err := s.digest(r.Context())
	if err != nil {
		s.failed.Add(1)
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	s.served.Add(1)
	writeJSON(w, map[string]string{"digest": digest})
}

func (s *server) digest(ctx context.Context) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.cfg.upstream+"/quote", http.NoBody)
	if err != nil {
		return "", err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, io.LimitReader(response.Body, 1<<20)); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// truth is what the owner itself knows: the demo and the tests judge by it,
// never by what the collector says about itself.
type truth struct {
	PID     int              `json:"pid"`
	Fixed   bool             `json:"fixed"`
	Served  int64            `json:"served"`
	Failed  int64            `json:"failed"`
	Tallies map[string]tally `json:"tallies"`
	Leaked  []socketTruth    `json:"leaked_sockets"`
	Pool    []socketTruth    `json:"pool"`
	Workers []int            `json:"workers"`
}

func (s *server) truth(w http.ResponseWriter, _ *http.Request) {
	t := truth{
		PID: os.Getpid(), Fixed: s.cfg.fixed, Served: s.served.Load(), Failed: s.failed.Load(),
		Tallies: s.ledger.tallies(), Leaked: []socketTruth{}, Pool: []socketTruth{}, Workers: s.workers.pids(),
	}
	for _, object := range s.ledger.keptOf(kindCloseWait) {
		if p, ok := object.(proxied); ok {
			t.Leaked = append(t.Leaked, describe(p.TCPConn))
		}
	}
	for _, conn := range s.pool.conns {
		t.Pool = append(t.Pool, describe(conn))
	}
	writeJSON(w, t)
}

func (s *server) checkPool(w http.ResponseWriter, _ *http.Request) {
	broken, err := s.pool.check()
	if err != nil {
		http.Error(w, fmt.Sprintf("%d of %d broken, first: %v", broken, len(s.pool.conns), err), http.StatusInternalServerError)
		return
	}
	writeJSON(w, map[string]int{"checked": len(s.pool.conns)})
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v) //nolint:errcheck // the client went away
}

// serve runs until ctx ends, then lets requests finish.
func (s *server) serve(ctx context.Context, listener net.Listener) error {
	web := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 5 * time.Second}
	s.run(ctx)
	s.wg.Go(func() { s.shareWhenLeaked(ctx) })
	ended := make(chan error, 1)
	go func() { ended <- web.Serve(listener) }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		err = web.Shutdown(grace)
		if last := <-ended; !errors.Is(last, http.ErrServerClosed) {
			err = errors.Join(err, last)
		}
	}
	s.close()
	return err
}

func (s *server) close() {
	s.wg.Wait()
	s.workers.stop()
	s.ledger.close()
	s.pool.close()
	s.client.CloseIdleConnections()
	for _, c := range s.cleanup {
		c.Close()
	}
}
