// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func askOnce(t *testing.T, dir string, r Request) ([]*Response, error) {
	t.Helper()
	var answers []*Response
	err := Ask(t.Context(), dir, r, func(a *Response) error { answers = append(answers, a); return nil })
	return answers, err
}

func TestControlSocket(t *testing.T) {
	set := testSettings(t, ModeDryRun)
	b := newBench(t, set)
	info, err := os.Stat(filepath.Join(set.Directory, ControlSocket))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	answers, err := askOnce(t, set.Directory, Request{Command: CommandStatus})
	require.NoError(t, err)
	require.Len(t, answers, 1)
	assert.Equal(t, ModeDryRun, answers[0].Status.Mode)
	assert.Empty(t, answers[0].Status.Stopped)

	answers, err = askOnce(t, set.Directory, Request{Command: CommandStop, Reason: "test\nline"})
	require.NoError(t, err)
	assert.NotEmpty(t, answers[0].Status.Stopped)
	_, thrown := b.kill.Thrown()
	assert.True(t, thrown)

	answers, err = askOnce(t, set.Directory, Request{Command: CommandJournal})
	require.NoError(t, err)
	var stopped *Record
	for _, a := range answers {
		if a.Record != nil && a.Record.Type == TypeStopped {
			stopped = a.Record
		}
	}
	require.NotNil(t, stopped)
	assert.Contains(t, stopped.Text, "test line")
	assert.Contains(t, stopped.Text, "user ")

	_, err = askOnce(t, set.Directory, Request{Command: CommandStart})
	require.NoError(t, err)
	_, thrown = b.kill.Thrown()
	assert.False(t, thrown)

	_, err = askOnce(t, set.Directory, Request{Command: "reboot"})
	require.ErrorContains(t, err, "known commands are status, stop, start, journal")
}

func TestControlSocketOfNobody(t *testing.T) {
	t.Parallel()
	_, err := askOnce(t, t.TempDir(), Request{Command: CommandStatus})
	require.ErrorIs(t, err, ErrNotRunning)
}

func TestControlSocketBoundsItsClients(t *testing.T) {
	set := testSettings(t, ModeDryRun)
	newBench(t, set)
	path := filepath.Join(set.Directory, ControlSocket)
	var dialer net.Dialer
	for range maxClients {
		conn, err := dialer.DialContext(t.Context(), "unix", path)
		require.NoError(t, err)
		defer conn.Close()
	}
	require.Eventually(t, func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		return Ask(ctx, set.Directory, Request{Command: CommandStatus}, func(*Response) error { return nil }) != nil
	}, 5*time.Second, 10*time.Millisecond)
}

func TestControlSocketAdmitsRootAndUs(t *testing.T) {
	t.Parallel()
	_, err := admitted(&unix.Ucred{Uid: 0})
	require.NoError(t, err)
	_, err = admitted(&unix.Ucred{Uid: uint32(os.Geteuid())})
	require.NoError(t, err)
	_, err = admitted(&unix.Ucred{Uid: uint32(os.Geteuid()) + 1})
	require.Error(t, err)
}

func TestControlSocketPathTooLong(t *testing.T) {
	t.Parallel()
	_, err := listenControl(filepath.Join(t.TempDir(), strings.Repeat("x", 120)), nil)
	require.ErrorContains(t, err, "too long for a unix socket")
}

// deaf is an engine that only counts what reaches it.
type deaf struct{ stops, starts int }

func (*deaf) Status() Status                                 { return Status{} }
func (d *deaf) Stop(string) error                            { d.stops++; return nil }
func (d *deaf) Resume(string) error                          { d.starts++; return errors.New("not now") }
func (*deaf) Records(uint64, int, func(*Record) error) error { return nil }

func FuzzControlProtocol(f *testing.F) {
	f.Add([]byte(`{"version":1,"command":"stop","reason":"x"}`))
	f.Add([]byte(`{"version":1,"command":"journal","from":18446744073709551615,"limit":-1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, line []byte) {
		d := &deaf{}
		s := &controlServer{engine: d}
		answers := 0
		err := s.handle(line, "fuzz", func(r *Response) error {
			answers++
			for _, c := range r.Text {
				assert.GreaterOrEqual(t, c, ' ')
			}
			return nil
		})
		r, bad := parseRequest(line)
		switch {
		case bad != nil:
			require.Error(t, err)
			assert.Zero(t, d.stops+d.starts+answers, "what is not understood does nothing")
		case r.Command == CommandStop:
			assert.Equal(t, 1, d.stops)
		case r.Command == CommandStart:
			require.Error(t, err)
		default:
			require.NoError(t, err)
		}
	})
}
