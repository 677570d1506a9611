// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/otel-memguard/memguard/testbed/load"
	"github.com/otel-memguard/memguard/testbed/rig"
)

// evidence is what is judged. servers[0] is the leaky one, servers[1] its twin.
type evidence struct {
	took           time.Duration
	collectorAlive bool
	servers        [2]serverEvidence
	events         []rig.Event
	errs           []error
}

type serverEvidence struct {
	name     string
	pid      int
	truth    rig.Truth
	load     load.Summary
	shut     int // leaked sockets that are shut, as their owner and the kernel's table agree
	disputed int // where the two disagree
	poolKept bool
	poolErr  error
}

// check is one condition of the demo's success.
type check struct {
	ok   bool
	what string
	seen string
}

const (
	prefixLeak   = "memguard.leak."
	prefixRepair = "memguard.remediation."
	nameVerified = prefixRepair + "verified"
	nameConfirm  = prefixLeak + "confirmed"
)

// judge decides. What the collector reports is used for one thing only: to
// see whether it reported.
func judge(e *evidence) []check {
	leaky, fixed := &e.servers[0], &e.servers[1]
	claimed := count(e.events, leaky.pid, nameVerified)
	checks := []check{
		{e.collectorAlive && errors.Join(e.errs...) == nil, "collector and servers ran to the end", problem(errors.Join(e.errs...))},
		{confirmed(e.events, leaky.pid), "the leak was confirmed and reported over OTLP", firstConfirmed(e.events, leaky.pid)},
		{
			leaky.shut > 0 && leaky.disputed == 0, "leaked sockets were shut",
			fmt.Sprintf("%d of %d, by the kernel's table and their owner; %d disputed", leaky.shut, len(leaky.truth.Leaked), leaky.disputed),
		},
		{
			claimed > 0 && claimed <= leaky.shut, "each repair that was reported as verified is real",
			fmt.Sprintf("%d reported, %d found", claimed, leaky.shut),
		},
		{silent(e.events, fixed.pid), "the fixed twin stayed silent and untouched", fmt.Sprintf("%d events about it", about(e.events, fixed.pid))},
	}
	for _, server := range e.servers {
		checks = append(checks,
			check{
				server.poolKept && server.poolErr == nil, "the pool of " + server.name + " was left alone",
				fmt.Sprintf("%d idle connections, each used once at the end: %s", len(server.truth.Pool), problem(server.poolErr)),
			},
			check{
				server.load.OK > 0 && server.load.Failed == 0 && server.load.Resets() == 0 && server.truth.Failed == 0,
				"the load on " + server.name + " saw no failure and no reset",
				fmt.Sprintf("%d of %d ok, %d failed, %d reset %s", server.load.OK, server.load.Sent, server.load.Failed,
					server.load.Resets(), server.load.FirstError),
			})
	}
	return checks
}

func problem(err error) string {
	if err == nil {
		return "no error"
	}
	return err.Error()
}

func ofProcess(e *rig.Event, pid int) bool { return e.Text("process.pid") == strconv.Itoa(pid) }

func confirmed(events []rig.Event, pid int) bool { return count(events, pid, nameConfirm) > 0 }

func firstConfirmed(events []rig.Event, pid int) string {
	at := slices.IndexFunc(events, func(e rig.Event) bool { return e.Name == nameConfirm && ofProcess(&e, pid) })
	if at < 0 {
		return "no " + nameConfirm + " event of it"
	}
	return fmt.Sprintf("basis %s, site %s", events[at].Text("memguard.leak.basis"), events[at].Text("memguard.leak.site"))
}

func count(events []rig.Event, pid int, name string) int {
	n := 0
	for i := range events {
		if events[i].Name == name && ofProcess(&events[i], pid) {
			n++
		}
	}
	return n
}

func about(events []rig.Event, pid int) int {
	n := 0
	for i := range events {
		if ofProcess(&events[i], pid) {
			n++
		}
	}
	return n
}

func silent(events []rig.Event, pid int) bool { return about(events, pid) == 0 }

// samePool reports whether the pool still holds the very same sockets, all of
// them connected.
func samePool(before, after []rig.Socket) bool {
	return len(before) == len(after) && !slices.ContainsFunc(after, func(s rig.Socket) bool { return s.State != "established" }) &&
		slices.EqualFunc(before, after, func(a, b rig.Socket) bool { return a.Inode == b.Inode && a.Local == b.Local })
}

// shutInKernel counts the leaked sockets that were shut from outside. Their
// owner never closed them and sends no keep-alive probes, so they leave
// CLOSE_WAIT in no other way. A socket on its way out is in LAST_ACK; after
// that it is in no table, and only its owner's descriptor is left. The table
// was read before the owner was asked.
func shutInKernel(leaked []rig.Socket, table map[uint64]rig.TCPEntry) (shut, disputed int) {
	for _, socket := range leaked {
		entry, listed := table[socket.Inode]
		if !listed && socket.State == "close_wait" {
			continue // leaked after the table was read
		}
		kernelShut := !listed || entry.State == rig.TCPLastAck || entry.State == rig.TCPClose
		ownerShut := socket.State == "close" || socket.State == "last_ack"
		switch {
		case kernelShut && ownerShut:
			shut++
		case kernelShut != ownerShut:
			disputed++
		}
	}
	return shut, disputed
}
