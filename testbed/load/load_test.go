// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(url string) Config {
	return Config{URL: url, Workers: 4, Rate: 500, Duration: 10 * time.Second, Count: 60, Timeout: 5 * time.Second}
}

func run(t *testing.T, cfg Config) Summary {
	t.Helper()
	r, err := New(cfg)
	require.NoError(t, err)
	return r.Run(t.Context())
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"foreign address": {func(c *Config) { c.URL = "http://192.0.2.1/" }, "loopback addresses only"},
		"name":            {func(c *Config) { c.URL = "http://localhost/" }, `"localhost" is not an address`},
		"scheme":          {func(c *Config) { c.URL = "https://127.0.0.1/" }, `scheme is "https"`},
		"no url":          {func(c *Config) { c.URL = ":" }, "url: "},
		"workers":         {func(c *Config) { c.Workers = 0 }, "workers: 0"},
		"many workers":    {func(c *Config) { c.Workers = 1000 }, "workers: 1000"},
		"rate":            {func(c *Config) { c.Rate = -1 }, "rate: -1"},
		"unbounded":       {func(c *Config) { c.Duration = 0 }, "duration: 0s"},
		"count":           {func(c *Config) { c.Count = -2 }, "count: -2"},
		"timeout":         {func(c *Config) { c.Timeout = 0 }, "timeout: 0s"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config("http://127.0.0.1:1/")
			test.change(&cfg)
			_, err := New(cfg)
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestKeepsOneConnectionPerWorker(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }))
	defer server.Close()
	s := run(t, config(server.URL))
	assert.Equal(t, s.Sent, s.OK)
	assert.Equal(t, int64(60), s.Sent+s.Missed)
	assert.Zero(t, s.Failed)
	assert.LessOrEqual(t, s.Dials, int64(4))
	assert.Positive(t, s.P50Millis)
	assert.LessOrEqual(t, s.P50Millis, s.MaxMillis)
	text, err := json.Marshal(s)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"broken_pipe":0`)
}

// rawServer answers the first request on each connection, then does ending.
func rawServer(t *testing.T, ending func(*net.TCPConn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			buf := make([]byte, 4096)
			conn.Read(buf)                                                         //nolint:errcheck // the client judges
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") //nolint:errcheck // the client judges
			conn.Read(buf)                                                         //nolint:errcheck // the client judges
			ending(conn.(*net.TCPConn))
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-done
	})
	return "http://" + listener.Addr().String()
}

func TestFailuresAreToldApartAndNeverRetried(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nobody := "http://" + closed.Addr().String()
	require.NoError(t, closed.Close())
	teapot := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	defer teapot.Close()

	for name, test := range map[string]struct {
		url    string
		count  func(*Summary) int64
		oks    int64
		resets int64
	}{
		"reset": {
			rawServer(t, func(c *net.TCPConn) {
				assert.NoError(t, c.SetLinger(0))
				assert.NoError(t, c.Close())
			}), func(s *Summary) int64 { return s.Reset }, 1, 1,
		},
		"eof":     {rawServer(t, func(c *net.TCPConn) { assert.NoError(t, c.Close()) }), func(s *Summary) int64 { return s.EOF }, 1, 1},
		"refused": {nobody, func(s *Summary) int64 { return s.Refused }, 0, 0},
		"status":  {teapot.URL, func(s *Summary) int64 { return s.BadStatus }, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config(test.url)
			cfg.Workers, cfg.Count, cfg.Rate = 1, test.oks+1, 20
			s := run(t, cfg)
			assert.Equal(t, test.oks, s.OK)
			assert.Equal(t, int64(1), s.Failed, "%+v", s)
			assert.Equal(t, int64(1), test.count(&s), "%+v", s)
			assert.Equal(t, test.resets, s.Resets())
			assert.NotEmpty(t, s.FirstError)
		})
	}
}

func TestCountsEveryCauseOnce(t *testing.T) {
	t.Parallel()
	var s Summary
	s.count(fmt.Errorf("write: %w", syscall.EPIPE))
	s.count(io.ErrUnexpectedEOF)
	s.count(context.DeadlineExceeded)
	s.count(assert.AnError)
	s.count(nil)
	assert.Equal(t, Summary{
		Sent: 5, OK: 1, Failed: 4, BrokenPipe: 1, EOF: 1, Timeout: 1, Other: 1, FirstError: "write: broken pipe",
	}, s)
}

func TestInterruptedLoadStillSums(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	cfg := config(server.URL)
	cfg.Count = 0
	r, err := New(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan Summary, 1)
	go func() { done <- r.Run(ctx) }()
	require.Eventually(t, func() bool { s := r.Summary(); return s.OK > 10 }, 5*time.Second, time.Millisecond)
	cancel()
	s := <-done
	assert.True(t, s.Interrupted)
	assert.Equal(t, s.Sent, s.OK+s.Failed)
}

func TestLatencyBucketsHoldTheirValues(t *testing.T) {
	t.Parallel()
	for us := int64(0); us < 1<<22; us = us*9/8 + 1 {
		d := time.Duration(us) * time.Microsecond
		b := bucket(d)
		assert.LessOrEqual(t, d, upper(b), "%v in bucket %d", d, b)
		if b > 0 {
			assert.Greater(t, d, upper(b-1), "%v in bucket %d", d, b)
		}
		assert.LessOrEqual(t, float64(upper(b)), float64(d)*1.07+1, "%v in bucket %d", d, b)
	}
	var l latencies
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	assert.InEpsilon(t, 500*time.Millisecond, l.percentile(0.5), 0.07)
	assert.InEpsilon(t, 990*time.Millisecond, l.percentile(0.99), 0.07)
	assert.Equal(t, time.Second, l.percentile(1))
}

func BenchmarkRequest(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	cfg := config(server.URL)
	r, err := New(cfg)
	require.NoError(b, err)
	var c connection
	b.ReportAllocs()
	for b.Loop() {
		if err := r.request(b.Context(), &c); err != nil {
			b.Fatal(err)
		}
	}
	c.conn.Close()
}
