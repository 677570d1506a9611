// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// host is what the checks read, once.
type host struct {
	proc        string
	caps        uint64 // effective set, man 7 capabilities
	yama        int    // kernel.yama.ptrace_scope, -1 where Yama is off
	processes   int    // user processes seen under proc
	readable    int    // of these, whose descriptors we may list
	sizes       bool   // the kernel gives descriptor counts by stat
	ownPIDs     bool
	sockDiagErr error
}

func examine(root string) ([]check, error) {
	h := host{proc: filepath.Join(root, "proc"), yama: -1}
	if _, err := os.Stat(filepath.Join(h.proc, "self", "stat")); err != nil {
		return nil, fmt.Errorf("--root-path %q holds no mounted /proc: %w", root, err)
	}
	var err error
	if h.caps, err = effectiveCapabilities(); err != nil {
		return nil, err
	}
	if text, err := os.ReadFile(filepath.Join(h.proc, "sys/kernel/yama/ptrace_scope")); err == nil {
		if scope, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil {
			h.yama = scope
		}
	}
	if err := h.countProcesses(); err != nil {
		return nil, err
	}
	var st unix.Stat_t
	h.sizes = unix.Stat(filepath.Join(h.proc, "self/fd"), &st) == nil && st.Size > 0
	h.ownPIDs = procid.OwnPIDs(h.proc)
	if conn, err := sockdiag.Open(); err != nil {
		h.sockDiagErr = err
	} else {
		h.sockDiagErr = conn.Close()
	}
	return []check{
		h.counts(), h.pidSpace(), h.detail(), h.sockets(), h.namespaces(), h.soleHolder(), h.shutdown(), h.destroy(),
	}, nil
}

// effectiveCapabilities reads our own, not those of the host's init.
func effectiveCapabilities() (uint64, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return 0, fmt.Errorf("read own capabilities: %w", err)
	}
	return uint64(data[1].Effective)<<32 | uint64(data[0].Effective), nil
}

func (h *host) has(capability int) bool { return h.caps&(1<<capability) != 0 }

func (h *host) countProcesses() error {
	entries, err := os.ReadDir(h.proc)
	if err != nil {
		return fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		dir := filepath.Join(h.proc, e.Name())
		if cmdline, err := os.ReadFile(filepath.Join(dir, "cmdline")); err == nil && len(cmdline) == 0 {
			continue // kernel threads and zombies hold nothing of interest
		}
		switch _, err := os.Readlink(filepath.Join(dir, "fd", "0")); {
		case err == nil:
			h.readable++
		case errors.Is(err, os.ErrNotExist):
			// Gone, or descriptor 0 is closed: ask the directory.
			f, err := os.Open(filepath.Join(dir, "fd"))
			if errors.Is(err, os.ErrNotExist) {
				continue
			}
			if err == nil {
				f.Close()
				h.readable++
			}
		}
		h.processes++
	}
	return nil
}

func (h *host) counts() check {
	c := check{Feature: "descriptor counts", Needs: "nothing (Linux 6.2)", Had: verdictYes, Detail: fmt.Sprintf("%d processes, counted by stat", h.processes)}
	if !h.sizes {
		c.Had, c.Detail = verdictPartly, "this kernel gives no count by stat: directories are listed"
		c.Lost = "counts of processes that we may not read; more CPU"
	}
	return c
}

func (h *host) pidSpace() check {
	c := check{Feature: "own pid space", Needs: "hostPID in a container", Had: verdictYes, Detail: "a pid means the process it names"}
	if !h.ownPIDs {
		c.Had, c.Detail = verdictNo, h.proc+" belongs to another pid space"
		c.Lost = "every repair: auto_fix stays off"
	}
	return c
}

func (h *host) visibility(c check, lost string) check {
	c.Detail = fmt.Sprintf("%d of %d processes readable", h.readable, h.processes)
	switch {
	case h.readable == h.processes:
		c.Had = verdictYes
	case h.readable > 0:
		c.Had, c.Lost = verdictPartly, lost
	default:
		c.Had, c.Lost = verdictNo, lost
	}
	return c
}

func (h *host) detail() check {
	return h.visibility(check{Feature: "kinds, sites, executables", Needs: "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH, or same user"},
		"what the other processes hold: only their counts are known")
}

func (h *host) sockets() check {
	c := check{Feature: "socket states and ages", Needs: "sock_diag (netlink)", Had: verdictYes, Detail: "TCP, UDP and unix"}
	if h.sockDiagErr != nil {
		c.Had, c.Detail, c.Lost = verdictNo, h.sockDiagErr.Error(), "socket states, proof of abandoned sockets, every repair of sockets"
	}
	return c
}

func (h *host) capability(c check, capability int, name, lost string) check {
	c.Needs, c.Had, c.Detail = name, verdictYes, "held"
	if !h.has(capability) {
		c.Had, c.Detail, c.Lost = verdictNo, "not held", lost
	}
	return c
}

func (h *host) namespaces() check {
	return check{
		Feature: "sockets of other network namespaces", Needs: "CAP_SYS_ADMIN", Had: verdictNo, Detail: "not built yet",
		Lost: "states of sockets in containers with a network of their own: they are counted, no more",
	}
}

func (h *host) soleHolder() check {
	return h.visibility(check{Feature: "proof of the sole holder (guard 7)", Needs: "CAP_SYS_PTRACE, CAP_DAC_READ_SEARCH"},
		"repairs, unless a policy says sole_holder: same_user")
}

func (h *host) shutdown() check {
	c := check{Feature: "socket.shutdown", Needs: "CAP_SYS_PTRACE, or same user and Yama's leave"}
	switch {
	case h.has(unix.CAP_SYS_PTRACE):
		c.Had, c.Detail = verdictYes, "held"
	case h.yama <= 0:
		c.Had, c.Detail, c.Lost = verdictPartly, "processes of the same user", "repairs in processes of others: auto_fix falls back to dry_run"
	case h.yama == 1:
		c.Had, c.Detail = verdictPartly, "kernel.yama.ptrace_scope=1: only processes that allow it by PR_SET_PTRACER"
		c.Lost = "repairs in all others: auto_fix falls back to dry_run"
	default:
		c.Had, c.Detail = verdictNo, fmt.Sprintf("kernel.yama.ptrace_scope=%d", h.yama)
		c.Lost = "every repair: auto_fix falls back to dry_run"
	}
	return c
}

func (h *host) destroy() check {
	return h.capability(check{Feature: "socket.destroy"}, unix.CAP_NET_ADMIN, "CAP_NET_ADMIN (and the proofs of socket.shutdown)",
		"the action socket.destroy; socket.shutdown serves in most cases")
}
