// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestDoctorPrintsARowForEachFeature(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"table", "json"} {
		cmd := newDoctorCommand()
		var out bytes.Buffer
		cmd.SetOut(&out)
		cmd.SetArgs([]string{"--format", format})
		require.NoError(t, cmd.Execute())
		assert.Contains(t, out.String(), "socket.shutdown")
		if format == "json" {
			var checks []check
			require.NoError(t, json.Unmarshal(out.Bytes(), &checks))
			assert.Len(t, checks, 8)
		}
	}
}

func TestDoctorBadInput(t *testing.T) {
	t.Parallel()
	for args, want := range map[[2]string]string{
		{"--root-path", "/nonexistent"}: `--root-path "/nonexistent" holds no mounted /proc`,
		{"--format", "xml"}:             `--format must be table or json, got "xml"`,
	} {
		cmd := newDoctorCommand()
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		cmd.SetOut(&bytes.Buffer{})
		cmd.SetArgs(args[:])
		require.ErrorContains(t, cmd.Execute(), want)
	}
}

// Each feature is lost exactly where what it needs is missing.
func TestVerdicts(t *testing.T) {
	t.Parallel()
	const ptrace, netAdmin = 1 << unix.CAP_SYS_PTRACE, 1 << unix.CAP_NET_ADMIN
	all := host{caps: ptrace | netAdmin, yama: -1, processes: 9, readable: 9, sizes: true, ownPIDs: true}
	tests := map[string]struct {
		change func(*host)
		of     func(*host) check
		want   verdict
	}{
		"all had":               {func(*host) {}, (*host).detail, verdictYes},
		"some unreadable":       {func(h *host) { h.readable = 3 }, (*host).detail, verdictPartly},
		"all unreadable":        {func(h *host) { h.readable = 0 }, (*host).soleHolder, verdictNo},
		"old kernel":            {func(h *host) { h.sizes = false }, (*host).counts, verdictPartly},
		"foreign pid space":     {func(h *host) { h.ownPIDs = false }, (*host).pidSpace, verdictNo},
		"no sock_diag":          {func(h *host) { h.sockDiagErr = unix.EPERM }, (*host).sockets, verdictNo},
		"no net admin":          {func(h *host) { h.caps = ptrace }, (*host).destroy, verdictNo},
		"ptrace in spite of it": {func(h *host) { h.yama = 2 }, (*host).shutdown, verdictYes},
		"no ptrace":             {func(h *host) { h.caps = 0 }, (*host).shutdown, verdictPartly},
		"no ptrace, Yama 1":     {func(h *host) { h.caps, h.yama = 0, 1 }, (*host).shutdown, verdictPartly},
		"no ptrace, Yama 2":     {func(h *host) { h.caps, h.yama = 0, 2 }, (*host).shutdown, verdictNo},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := all
			tt.change(&h)
			c := tt.of(&h)
			assert.Equal(t, tt.want, c.Had)
			assert.Equal(t, tt.want == verdictYes, c.Lost == "", "what is lost is said exactly where something is")
		})
	}
}
