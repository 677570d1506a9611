// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"
)

// Config says what load to make. It is bounded in time and in count.
type Config struct {
	URL      string        // http://, a loopback address
	Workers  int           // one connection each
	Rate     float64       // requests per second over all workers
	Duration time.Duration // ends the load
	Count    int64         // ends it too, where above 0
	Timeout  time.Duration // of one request
}

// Bounds of a load: it is a test on one host, not a benchmark of a fleet.
const (
	MaxWorkers  = 256
	MaxRate     = 20_000
	MaxDuration = 24 * time.Hour
)

var errNotLoopback = errors.New("refused: this load generator talks to loopback addresses only")

// Validate returns every error of the configuration, each with its value.
func (c *Config) Validate() error {
	var errs []error
	if _, err := c.target(); err != nil {
		errs = append(errs, err)
	}
	if c.Workers < 1 || c.Workers > MaxWorkers {
		errs = append(errs, fmt.Errorf("workers: %d is not within 1 to %d", c.Workers, MaxWorkers))
	}
	if !(c.Rate > 0 && c.Rate <= MaxRate) {
		errs = append(errs, fmt.Errorf("rate: %v is not above 0 and at most %d/s", c.Rate, MaxRate))
	}
	if c.Duration <= 0 || c.Duration > MaxDuration {
		errs = append(errs, fmt.Errorf("duration: %v is not above 0 and at most %v", c.Duration, MaxDuration))
	}
	if c.Count < 0 {
		errs = append(errs, fmt.Errorf("count: %d is negative", c.Count))
	}
	if c.Timeout <= 0 {
		errs = append(errs, fmt.Errorf("timeout: %v is not above 0", c.Timeout))
	}
	return errors.Join(errs...)
}

// target returns host:port of the URL. Names are refused: what they resolve
// to may change between the check and the dial.
func (c *Config) target() (string, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		return "", fmt.Errorf("url: %w", err)
	}
	if u.Scheme != "http" {
		return "", fmt.Errorf("url %q: the scheme is %q, want http", c.URL, u.Scheme)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	if err != nil {
		return "", fmt.Errorf("url %q: %q is not an address: %w", c.URL, u.Hostname(), errNotLoopback)
	}
	if !addr.IsLoopback() {
		return "", fmt.Errorf("url %q: %w", c.URL, errNotLoopback)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	return net.JoinHostPort(addr.String(), port), nil
}
