// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// maxClients bounds the connections served at a time; more are closed unread.
const maxClients = 16

// maxJournalAnswer bounds the records of one answer.
const maxJournalAnswer = 10000

// maxSocketPath is the room of sun_path (man 7 unix), with its final zero.
const maxSocketPath = 108

// controlled is what the control socket asks of an engine.
type controlled interface {
	Status() Status
	Stop(by string) error
	Resume(by string) error
	Records(from uint64, limit int, fn func(*Record) error) error
}

// controlServer answers on the unix socket. Only root and our own user are
// heard, by the kernel's word (SO_PEERCRED) and not only by the file's mode.
type controlServer struct {
	engine   controlled
	listener *net.UnixListener
	wait     sync.WaitGroup
	slots    chan struct{}

	mu      sync.Mutex
	closed  bool
	clients map[*net.UnixConn]bool
}

// listenControl takes the place of a socket that an earlier run left: the
// caller holds the directory's journal, so nobody answers there.
func listenControl(path string, engine controlled) (*controlServer, error) {
	if len(path) >= maxSocketPath {
		return nil, fmt.Errorf("directory: path %q is too long for a unix socket: %d bytes, at most %d", path, len(path), maxSocketPath-1)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, fmt.Errorf("remove old control socket: %w", err)
		}
	}
	listener, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("open control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close()
		return nil, fmt.Errorf("protect control socket: %w", err)
	}
	s := &controlServer{
		engine: engine, listener: listener, slots: make(chan struct{}, maxClients), clients: map[*net.UnixConn]bool{},
	}
	s.wait.Go(s.accept)
	return s, nil
}

// Close ends all connections and removes the socket.
func (s *controlServer) Close() error {
	s.mu.Lock()
	s.closed = true
	err := s.listener.Close()
	for c := range s.clients {
		_ = c.Close()
	}
	s.mu.Unlock()
	s.wait.Wait()
	if err != nil {
		return fmt.Errorf("close control socket: %w", err)
	}
	return nil
}

func (s *controlServer) accept() {
	for {
		conn, err := s.listener.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(100 * time.Millisecond) // out of descriptors, say: no reason to spin
			continue
		}
		if !s.admit(conn) {
			_ = conn.Close()
		}
	}
}

func (s *controlServer) admit(conn *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	select {
	case s.slots <- struct{}{}:
	default:
		return false
	}
	s.clients[conn] = true
	s.wait.Go(func() {
		s.serve(conn)
		_ = conn.Close()
		s.mu.Lock()
		delete(s.clients, conn)
		s.mu.Unlock()
		<-s.slots
	})
	return true
}

func (s *controlServer) serve(conn *net.UnixConn) {
	answer := func(r *Response) error {
		r.Version = controlVersion
		line, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		if err := conn.SetWriteDeadline(time.Now().Add(controlTimeout)); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		if _, err := conn.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("answer: %w", err)
		}
		return nil
	}
	by, err := peer(conn)
	if err == nil {
		err = conn.SetReadDeadline(time.Now().Add(controlTimeout))
	}
	if err == nil {
		in := bufio.NewScanner(conn)
		in.Buffer(make([]byte, 0, 4096), maxControlLine)
		if !in.Scan() {
			return
		}
		err = s.handle(in.Bytes(), by, answer)
	}
	if err != nil {
		_ = answer(&Response{Final: true, Error: err.Error()})
	}
}

// handle answers one line of a client.
func (s *controlServer) handle(line []byte, by string, answer func(*Response) error) error {
	r, err := parseRequest(line)
	if err != nil {
		return err
	}
	if r.Reason != "" {
		by += " (" + r.Reason + ")"
	}
	done := &Response{OK: true, Final: true}
	switch r.Command {
	case CommandStop:
		done.Text = "stopped"
		if err := s.engine.Stop(by); err != nil {
			done.Text = "stopped, but only until the collector ends: " + err.Error()
		}
	case CommandStart:
		if err := s.engine.Resume(by); err != nil {
			return err
		}
		done.Text = "started"
	case CommandJournal:
		limit := r.Limit
		if limit == 0 || limit > maxJournalAnswer {
			limit = maxJournalAnswer
		}
		err := s.engine.Records(r.From, limit, func(rec *Record) error { return answer(&Response{OK: true, Record: rec}) })
		if err != nil {
			return err
		}
	case CommandStatus:
	}
	status := s.engine.Status()
	done.Status = &status
	return answer(done)
}

// peer returns who is at the other end, and an error if that is neither root
// nor our own user.
func peer(conn *net.UnixConn) (string, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return "", fmt.Errorf("who asks cannot be told: %w", err)
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err := errors.Join(err, credErr); err != nil {
		return "", fmt.Errorf("who asks cannot be told: %w", err)
	}
	return admitted(cred)
}

func admitted(cred *unix.Ucred) (string, error) {
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return "", fmt.Errorf("user %d may not control this collector", cred.Uid)
	}
	return "user " + strconv.FormatUint(uint64(cred.Uid), 10) + ", process " + strconv.Itoa(int(cred.Pid)), nil
}
