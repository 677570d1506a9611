// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	host := flag.String("host", "127.0.0.1", "host to listen on, with ports that the kernel chooses")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	err := run(ctx, *host, os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "upstream:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. Once all three listen, it writes one line of
// JSON with its pid and addresses.
func run(ctx context.Context, host string, out io.Writer) error {
	var listeners [3]net.Listener
	var listen net.ListenConfig
	for i := range listeners {
		var err error
		if listeners[i], err = listen.Listen(ctx, "tcp", net.JoinHostPort(host, "0")); err != nil {
			return err
		}
		defer listeners[i].Close()
	}
	web := &http.Server{Handler: handler(), ReadHeaderTimeout: 5 * time.Second}
	closing := newLineServer(listeners[1], answerAndClose)
	echo := newLineServer(listeners[2], echoLines)

	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(closing.serve)
	wg.Go(echo.serve)
	wg.Go(func() {
		if err := web.Serve(listeners[0]); !errors.Is(err, http.ErrServerClosed) {
			fmt.Fprintln(os.Stderr, "upstream:", err)
		}
	})
	line, err := json.Marshal(map[string]any{
		"ready": true, "name": "upstream", "pid": os.Getpid(), "http": listeners[0].Addr().String(),
		"closing": listeners[1].Addr().String(), "pool": listeners[2].Addr().String(),
	})
	if err == nil {
		_, err = fmt.Fprintln(out, string(line))
	}
	if err == nil {
		<-ctx.Done()
	}
	closing.stop()
	echo.stop()
	return errors.Join(err, web.Close())
}

func handler() http.Handler {
	page := bytes.Repeat([]byte("all work and no leak makes a dull demo. "), 1<<15) // 1.3 MB: more than socket buffers take
	mux := http.NewServeMux()
	mux.HandleFunc("GET /quote", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "what is opened wants to be closed", time.Now().UnixNano())
	})
	mux.HandleFunc("GET /large", func(w http.ResponseWriter, _ *http.Request) {
		w.Write(page) //nolint:errcheck // the client went away
	})
	return mux
}

// answerAndClose answers one line and closes: the caller's half is then in
// CLOSE_WAIT until it closes too.
func answerAndClose(conn net.Conn) {
	if line, err := bufio.NewReader(conn).ReadString('\n'); err == nil {
		fmt.Fprintln(conn, "answer to", strings.TrimSpace(line))
	}
}

func echoLines(conn net.Conn) {
	io.Copy(conn, conn) //nolint:errcheck // the client went away
}

// lineServer serves raw connections, each with a goroutine.
type lineServer struct {
	listener net.Listener
	handle   func(net.Conn)

	mu      sync.Mutex
	stopped bool
	conns   map[net.Conn]struct{}
	wg      sync.WaitGroup
}

func newLineServer(listener net.Listener, handle func(net.Conn)) *lineServer {
	return &lineServer{listener: listener, handle: handle, conns: map[net.Conn]struct{}{}}
}

func (s *lineServer) serve() {
	defer s.wg.Wait()
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		if !s.add(conn) {
			conn.Close()
			return
		}
		s.wg.Go(func() {
			defer s.remove(conn)
			s.handle(conn)
		})
	}
}

func (s *lineServer) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.conns[conn] = struct{}{}
	}
	return !s.stopped
}

func (s *lineServer) remove(conn net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
	conn.Close()
}

func (s *lineServer) stop() {
	s.listener.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopped = true
	for conn := range s.conns {
		conn.Close()
	}
}
