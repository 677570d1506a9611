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
