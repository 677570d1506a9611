// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"time"
)

// ErrMalformed means that text of the kernel could not be understood.
var ErrMalformed = errors.New("malformed kernel text")

const (
	flagKernelThread = 0x00200000 // PF_KTHREAD, include/linux/sched.h

	// userHZ is the unit of times in /proc/PID/stat: USER_HZ, 100 on every
	// architecture that Go supports (include/uapi/asm-generic/param.h).
	userHZ = 100
)

// record is what one pass over the process table says about a process.
type record struct {
	pid         int32
	parent      int32
	state       byte
	flags       uint64
	startTicks  uint64
	userTicks   uint64
	systemTicks uint64
	threads     int64
	layout      uint64 // changes with every exec, where we may see it; else constant
	comm        []byte // valid during the call

	virtualBytes  int64
	residentPages int64
	sharedPages   int64 // of files and shmem
	descriptors   int64 // -1 where unknown
}

// parseStat reads /proc/PID/stat (man 5 proc_pid_stat). comm aliases b.
func parseStat(b []byte, r *record) error {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return fmt.Errorf("%w: stat without a command name", ErrMalformed)
	}
	r.comm = b[open+1 : end]
	rest := b[end+1:]
	const last = 28
	for field := 3; field <= last; field++ {
		var word []byte
		word, rest = nextWord(rest)
		if len(word) == 0 {
			return fmt.Errorf("%w: stat ends at field %d", ErrMalformed, field)
		}
		if field == 3 {
			r.state = word[0]
			continue
		}
		ok := true
		switch field {
		case 4:
			var v uint64
			v, ok = parseUint(word)
			ok = ok && v <= math.MaxInt32
			r.parent = int32(v & math.MaxInt32)
		case 9:
			r.flags, ok = parseUint(word)
		case 14:
			r.userTicks, ok = parseUint(word)
		case 15:
			r.systemTicks, ok = parseUint(word)
		case 20:
			r.threads, ok = parseInt(word)
		case 22:
			r.startTicks, ok = parseUint(word)
		case 23:
			r.virtualBytes, ok = parseInt(word)
		case 28:
			// The kernel puts the stack at a random place at every exec.
			r.layout, ok = parseUint(word)
		}
		if !ok {
			return fmt.Errorf("%w: stat field %d", ErrMalformed, field)
		}
	}
	return nil
}

// parseStatm reads /proc/PID/statm: resident and shared pages.
func parseStatm(b []byte, r *record) error {
	_, rest := nextWord(b)
	resident, rest := nextWord(rest)
	shared, _ := nextWord(rest)
	var ok1, ok2 bool
	r.residentPages, ok1 = parseInt(resident)
	r.sharedPages, ok2 = parseInt(shared)
	if !ok1 || !ok2 {
		return fmt.Errorf("%w: statm", ErrMalformed)
	}
	return nil
}

// Unlimited is the limit of a resource that has none.
const Unlimited = math.MaxInt64

// parseOpenFilesLimit reads the soft limit of open files from
// /proc/PID/limits.
func parseOpenFilesLimit(b []byte) (int64, error) {
	const name = "Max open files"
	at := bytes.Index(b, []byte(name))
	if at < 0 || (at > 0 && b[at-1] != '\n') {
		return 0, fmt.Errorf("%w: limits without open files", ErrMalformed)
	}
	word, _ := nextWord(b[at+len(name):])
	if string(word) == "unlimited" {
		return Unlimited, nil
	}
	v, ok := parseInt(word)
	if !ok {
		return 0, fmt.Errorf("%w: limit of open files", ErrMalformed)
	}
	return v, nil
}

// nextWord splits the first blank-separated word off one line.
func nextWord(b []byte) (word, rest []byte) {
	i := 0
	for i < len(b) && (b[i] == ' ' || b[i] == '\t') {
		i++
	}
	j := i
	for j < len(b) && b[j] != ' ' && b[j] != '\t' && b[j] != '\n' {
		j++
	}
	return b[i:j], b[j:]
}

// parseUint reads a decimal number that fits.
func parseUint(b []byte) (uint64, bool) {
	if len(b) == 0 || len(b) > 20 {
		return 0, false
	}
	var v uint64
	for _, c := range b {
		d := uint64(c - '0')
		if c < '0' || c > '9' || v > (math.MaxUint64-d)/10 {
			return 0, false
		}
		v = v*10 + d
	}
	return v, true
}

// parseInt reads a decimal number of 0 and above; larger ones are cut off.
func parseInt(b []byte) (int64, bool) {
	v, ok := parseUint(b)
	return int64(min(v, math.MaxInt64)), ok
}

// parseBootTime reads the line btime of /proc/stat (man 5 proc_stat).
func parseBootTime(b []byte) (time.Time, error) {
	for line := range bytes.Lines(b) {
		value, ok := bytes.CutPrefix(line, []byte("btime "))
		if !ok {
			continue
		}
		word, _ := nextWord(value)
		if seconds, ok := parseInt(word); ok && seconds < 1<<40 {
			return time.Unix(seconds, 0).UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%w: no boot time", ErrMalformed)
}
