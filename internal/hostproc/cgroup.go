// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"bytes"
	"strings"
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
