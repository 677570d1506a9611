// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	factsRefresh = time.Minute
	maxArguments = 4096
)

// exeIdentity returns device and inode of the program, 0 where unreadable, as
// procid.Read does.
func (p *procfs) exeIdentity(pid int32) (dev, ino uint64) {
	var st unix.Statx_t
	if errno := statx(p.dir, p.at(pid, "exe"), &st); errno != 0 {
		return 0, 0
	}
	return unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino
}

// netns returns the inode of the network namespace, 0 where unreadable.
func (p *procfs) netns(name []byte) uint64 {
	var st unix.Statx_t
	if errno := statx(p.dir, name, &st); errno != 0 {
		return 0
	}
	return st.Ino
}

// ownNetns returns the inode of the network namespace that we dump.
func ownNetns() uint64 {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		return 0
	}
	return st.Ino
}

// readFacts reads everything about a new life.
func (s *Scanner) readFacts(l *life, now time.Time) {
	l.refreshed = now
	l.refreshes = 0
	f := Facts{Name: cleanText(l.comm), Parent: l.parent}
	var link [linkBuffer]byte
	if n, errno := readlinkat(s.proc.dir, s.proc.at(l.pid, "exe"), link[:]); errno == 0 {
		f.Path, f.Name = executablePath(string(link[:n]))
	}
	if s.opts.CommandLine {
		if text, err := s.proc.file(l.pid, "cmdline"); err == nil {
			f.CommandLine = commandLine(text)
		}
	}
	f.UID = s.uid(l.pid)
	f.Owner = s.owners.name(f.UID, now)
	s.readCgroup(l, &f)
	s.setFacts(l, f)
	s.readLimits(l)
	l.netns = s.proc.netns(s.proc.at(l.pid, "ns/net"))
}

// refresh reads again what may change in a life. It allocates only on change.
func (s *Scanner) refresh(l *life, now time.Time) {
	l.refreshed = now
	l.refreshes++
	f := l.Facts
	f.Parent = l.parent
	if uid := s.uid(l.pid); uid != f.UID {
		f.UID = uid
		f.Owner = s.owners.name(uid, now)
	}
	s.readCgroup(l, &f)
	if f != l.Facts {
		s.setFacts(l, f)
	}
	s.readLimits(l)
	l.netns = s.proc.netns(s.proc.at(l.pid, "ns/net"))
}

// stale reports whether facts are due for a refresh: every minute, and once at
// the second sight, since a process is often moved into its cgroup and given
// its user right after it began.
func (l *life) stale(now time.Time) bool {
	return l.refreshes == 0 || now.Sub(l.refreshed) >= factsRefresh
}

func (s *Scanner) setFacts(l *life, f Facts) {
	l.Facts = f
	l.Version++
	l.wanted = s.opts.Want == nil || s.opts.Want(&l.Facts)
	l.asked = s.opts.DetailWant != nil && s.opts.DetailWant(&l.Facts)
}

// uid is the effective user: the owner of /proc/PID, of all its files the only
// one that is not root for a process that may not be dumped
// (fs/proc/base.c, task_dump_owner).
func (s *Scanner) uid(pid int32) uint32 {
	var st unix.Statx_t
	_ = statx(s.proc.dir, s.proc.at(pid, ""), &st)
	return st.Uid
}

func (s *Scanner) readCgroup(l *life, f *Facts) {
	text, err := s.proc.file(l.pid, "cgroup")
	if err != nil || string(text) == l.cgroupText {
		return
	}
	l.cgroupText = string(text)
	c := parseCgroup(text)
	f.Cgroup, f.ContainerID, f.PodUID, f.Unit = c.path, c.container, c.pod, c.unit
}

func (s *Scanner) readLimits(l *life) {
	text, err := s.proc.file(l.pid, "limits")
	if err != nil {
		if !gone(err) {
			s.stats.count(err)
		}
		return
	}
	limit, err := parseOpenFilesLimit(text)
	if err != nil {
		s.stats.count(err)
		return
	}
	l.DescriptorLimit = limit
}

func commandLine(text []byte) string {
	text = text[:min(len(text), maxArguments)]
	for len(text) > 0 && text[len(text)-1] == 0 {
		text = text[:len(text)-1]
	}
	line := make([]byte, len(text))
	for i, c := range text {
		if c == 0 {
			c = ' '
		}
		line[i] = c
	}
	return cleanText(string(line))
}
