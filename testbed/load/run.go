// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// Runner makes the load of one configuration, once.
type Runner struct {
	cfg    Config
	target string

	mu        sync.Mutex
	summary   Summary
	latencies latencies
	started   time.Time
}

// New validates the configuration.
func New(cfg Config) (*Runner, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	target, err := cfg.target()
	if err != nil {
		return nil, err
	}
	return &Runner{cfg: cfg, target: target}, nil
}

// Summary returns what was seen so far.
func (r *Runner) Summary() Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.summary
	if !r.started.IsZero() {
		out.finish(&r.latencies, time.Since(r.started))
	}
	return out
}

// Run makes the load until its duration or count is reached or ctx ends. A
// request that is under way is let finish and is counted.
func (r *Runner) Run(ctx context.Context) Summary {
	timed, cancel := context.WithTimeout(ctx, r.cfg.Duration)
	defer cancel()
	r.mu.Lock()
	r.started = time.Now()
	r.mu.Unlock()

	tickets := make(chan struct{}, r.cfg.Workers)
	var wg sync.WaitGroup
	for range r.cfg.Workers {
		wg.Go(func() { r.work(context.WithoutCancel(ctx), tickets) })
	}
	r.issue(timed, tickets)
	close(tickets)
	wg.Wait()

	r.mu.Lock()
	r.summary.Interrupted = ctx.Err() != nil
	r.mu.Unlock()
	return r.Summary()
}

// issue hands out tickets at the fixed rate, by the clock and not by the
// answers: a slow server does not slow the load.
func (r *Runner) issue(ctx context.Context, tickets chan<- struct{}) {
	tick := max(time.Duration(float64(time.Second)/r.cfg.Rate), time.Millisecond)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	var issued int64
	for start := time.Now(); ; {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			due := int64(now.Sub(start).Seconds() * r.cfg.Rate)
			if r.cfg.Count > 0 {
				due = min(due, r.cfg.Count)
			}
			for ; issued < due; issued++ {
				select {
				case tickets <- struct{}{}:
				default:
					r.mu.Lock()
					r.summary.Missed++
					r.mu.Unlock()
				}
			}
			if r.cfg.Count > 0 && issued >= r.cfg.Count {
				return
			}
		}
	}
}

// connection is the one connection of a worker.
type connection struct {
	conn   net.Conn
	reader *bufio.Reader
}

func (r *Runner) work(ctx context.Context, tickets <-chan struct{}) {
	var c connection
	defer func() {
		if c.conn != nil {
			c.conn.Close()
		}
	}()
	for range tickets {
		begin := time.Now()
		err := r.request(ctx, &c)
		took := time.Since(begin)
		if err != nil && c.conn != nil {
			c.conn.Close()
			c = connection{}
		}
		r.mu.Lock()
		r.summary.count(err)
		r.latencies.add(took)
		r.mu.Unlock()
	}
}

// request sends one request, once.
func (r *Runner) request(ctx context.Context, c *connection) error {
	if c.conn == nil {
		dialer := net.Dialer{Timeout: r.cfg.Timeout}
		conn, err := dialer.DialContext(ctx, "tcp", r.target)
		if err != nil {
			return fmt.Errorf("%w: %w", errDial, err)
		}
		*c = connection{conn: conn, reader: bufio.NewReader(conn)}
		r.mu.Lock()
		r.summary.Dials++
		r.mu.Unlock()
	}
	if err := c.conn.SetDeadline(time.Now().Add(r.cfg.Timeout)); err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.cfg.URL, http.NoBody)
	if err != nil {
		return err
	}
	if err := request.Write(c.conn); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	response, err := http.ReadResponse(c.reader, request)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return fmt.Errorf("read body: %w", err)
	}
	if response.Close {
		c.conn.Close()
		*c = connection{}
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w %d", errStatus, response.StatusCode)
	}
	return nil
}
