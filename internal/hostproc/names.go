// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"bytes"
	"path"
	"strings"
	"unicode"

	"github.com/otel-memguard/memguard/internal/leak"
)

// cgroupFacts is what the path of a cgroup says about its process.
type cgroupFacts struct {
	path      string
	container string
	pod       string
	unit      string // systemd service, without ".service"
}

// maxCgroupPath bounds what is kept of a path (PATH_MAX is the kernel's own).
const maxCgroupPath = 1024

// parseCgroup reads /proc/PID/cgroup (man 7 cgroups): the path in the unified
// hierarchy, or where that is the root or absent, the longest of version 1.
func parseCgroup(b []byte) cgroupFacts {
	var best []byte
	for len(b) > 0 {
		var line []byte
		line, b, _ = bytes.Cut(b, []byte{'\n'})
		_, line, ok := bytes.Cut(line, []byte{':'})
		controllers, cgroup, ok2 := bytes.Cut(line, []byte{':'})
		if !ok || !ok2 || len(cgroup) == 0 || cgroup[0] != '/' {
			continue
		}
		if len(controllers) == 0 && len(cgroup) > 1 {
			best = cgroup
			break
		}
		if len(cgroup) > len(best) {
			best = cgroup
		}
	}
	if len(best) > maxCgroupPath {
		best = best[:maxCgroupPath]
	}
	return cgroupPathFacts(cleanText(string(best)))
}

func cgroupPathFacts(p string) cgroupFacts {
	f := cgroupFacts{path: p}
	for segment := range strings.SplitSeq(p, "/") {
		if id := containerID(segment); id != "" {
			f.container = id
		}
		if uid := podUID(segment); uid != "" {
			f.pod = uid
		}
		if unit, ok := strings.CutSuffix(segment, ".service"); ok && !strings.HasPrefix(segment, "user@") {
			f.unit = unit
		}
	}
	return f
}

// containerID finds the 64 hex digits that container runtimes name cgroups
// by, bare (cgroupfs driver) or as runtime-ID.scope (systemd driver).
func containerID(segment string) string {
	segment = strings.TrimSuffix(segment, ".scope")
	// conmon-… is the monitor beside a container, not the container.
	if strings.Contains(segment, "conmon") {
		return ""
	}
	if at := strings.LastIndexAny(segment, "-:"); at >= 0 {
		segment = segment[at+1:]
	}
	if len(segment) != 64 || !hexadecimal(segment) {
		return ""
	}
	return segment
}

// podUID finds kubelet's podUID (cgroupfs driver) or kubepods-…-podUID.slice,
// where systemd needs the dashes as underscores.
func podUID(segment string) string {
	at := strings.LastIndex(segment, "pod")
	if at < 0 || (at > 0 && segment[at-1] != '-') {
		return ""
	}
	uid := strings.ReplaceAll(strings.TrimSuffix(segment[at+len("pod"):], ".slice"), "_", "-")
	static := len(uid) == 32 && hexadecimal(uid) // static pods: a hash
	dashed := len(uid) == 36 && hexadecimal(strings.ReplaceAll(uid, "-", "")) && strings.Count(uid, "-") == 4
	if !static && !dashed {
		return ""
	}
	return uid
}

func hexadecimal(s string) bool {
	for _, c := range []byte(s) {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return s != ""
}

// cleanText makes text that a process chose fit for an attribute.
func cleanText(s string) string {
	const replacement = "?"
	s = strings.ToValidUTF8(s, replacement)
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, s)
}

// executableName is the base name of the program, without the mark that the
// kernel puts behind a deleted one.
func executablePath(target string) (file, name string) {
	file = cleanText(strings.TrimSuffix(target, deletedSuffix))
	return file, path.Base(file)
}

const deletedSuffix = " (deleted)"

// appendFileSite appends the site of a file: its directory, runs of digits as
// '#', so that per-day, per-user and per-pid directories are one site.
func appendFileSite(dst, target []byte) []byte {
	target = bytes.TrimSuffix(target, []byte(deletedSuffix))
	if at := bytes.LastIndexByte(target, '/'); at >= 0 {
		target = target[:max(at, 1)]
	}
	digits := false
	for _, c := range target {
		isDigit := c >= '0' && c <= '9'
		switch {
		case !isDigit:
			dst = append(dst, c)
		case !digits:
			dst = append(dst, '#')
		}
		digits = isDigit
	}
	return dst
}

// kindOf tells descriptors apart by the target of their link.
func kindOf(target []byte) (kind uint8, inode uint64) {
	switch {
	case len(target) > 0 && target[0] == '/':
		return kindFile, 0
	case bytes.HasPrefix(target, []byte("socket:[")):
		return kindSocket, bracketed(target)
	case bytes.HasPrefix(target, []byte("pipe:[")):
		return kindPipe, bracketed(target)
	case bytes.HasPrefix(target, []byte("anon_inode:")):
		return anonymousKind(target[len("anon_inode:"):]), 0
	default:
		return kindDescriptor, 0
	}
}

func anonymousKind(name []byte) uint8 {
	switch string(bytes.Trim(name, "[]")) {
	case "eventfd":
		return kindEventfd
	case "timerfd":
		return kindTimerfd
	case "eventpoll":
		return kindEpoll
	case "inotify":
		return kindInotify
	default:
		return kindDescriptor
	}
}

func bracketed(target []byte) uint64 {
	open, end := bytes.IndexByte(target, '['), bytes.IndexByte(target, ']')
	if open < 0 || end < open {
		return 0
	}
	v, _ := parseUint(target[open+1 : end])
	return v
}

// Kinds of descriptors as small numbers, in the order of the vocabulary.
const (
	kindFile uint8 = iota
	kindSocket
	kindPipe
	kindEventfd
	kindTimerfd
	kindEpoll
	kindInotify
	kindDescriptor
	numKinds
)

var kindNames = [numKinds]leak.Kind{
	leak.KindFile, leak.KindSocket, leak.KindPipe, leak.KindEventfd,
	leak.KindTimerfd, leak.KindEpoll, leak.KindInotify, leak.KindDescriptor,
}

// countWatches counts the lines of a /proc/PID/fdinfo/FD text that stand for a
// watch of an epoll ("tfd:") or inotify ("inotify wd:") descriptor.
func countWatches(b []byte, kind uint8) int64 {
	prefix := []byte("tfd:")
	if kind == kindInotify {
		prefix = []byte("inotify wd:")
	}
	var n int64
	for len(b) > 0 {
		if bytes.HasPrefix(b, prefix) {
			n++
		}
		at := bytes.IndexByte(b, '\n')
		if at < 0 {
			break
		}
		b = b[at+1:]
	}
	return n
}
