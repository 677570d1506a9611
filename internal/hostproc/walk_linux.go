// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"hash/maphash"
	"time"
)

// walker is the state of the walk over one process's descriptors.
type walker struct {
	l         *life
	between   time.Time // middle between the walk before and this
	first     bool
	read      int
	files     int
	inotify   int64
	epoll     int64
	foreign   bool // sockets of another network namespace were met
	abandoned bool // abandoned sockets were met
	scratch   []byte
	seed      maphash.Seed
	seeded    bool
	visitFn   func(*descriptor)
}

// walk reads every descriptor of one process, and returns how many.
func (s *Scanner) walk(l *life) int {
	if l.sites == nil {
		l.sites = newSiteTable(s.opts.Sites, s.opts.SiteHold)
	}
	w := &s.walker
	if !w.seeded {
		w.seed, w.seeded = maphash.MakeSeed(), true
	}
	w.l, w.read, w.files, w.inotify, w.epoll = l, 0, 0, 0, 0
	w.first, w.foreign, w.abandoned = l.walk == 0, false, false
	w.between = s.now
	if !w.first {
		w.between = l.walked.Add(s.now.Sub(l.walked) / 2)
	}
	l.walk++
	l.walkScan = s.scan
	l.walked = s.now
	l.sites.begin()
	err := s.be.descriptors(l.pid, w.visitFn)
	s.stats.Descriptors += w.read
	if err != nil {
		s.stats.count(err)
		if reasonOf(err) == ReasonPermission {
			l.denied = s.now
			s.stats.Denied++
		}
		return w.read + 1
	}
	l.denied = time.Time{}
	s.stats.Detailed++
	if w.foreign {
		s.stats.OtherNetns++
	}
	s.bury(l)
	s.stats.Folded += int(l.sites.finish(s.now))
	if l.watches.observe(w.inotify+w.epoll) || w.abandoned {
		l.heldUntil = s.now.Add(s.opts.Hold)
	}
	if l.class(s.now) != classRest {
		l.detail.Sites = l.sites.report
		l.detail.InotifyWatches, l.detail.EpollWatches = w.inotify, w.epoll
		l.Detail = &l.detail
	}
	return w.read
}

// bury removes what the walk did not meet again.
func (s *Scanner) bury(l *life) {
	kept := l.objects[:0]
	for _, at := range l.objects {
		o := &s.objects.slab[at]
		if o.walk == l.walk {
			kept = append(kept, at)
			continue
		}
		if o.born {
			o.site.Lifetime.add(s.walker.between.Sub(o.birth))
		}
		s.objects.remove(at)
	}
	l.objects = kept
}

// visit counts one descriptor.
func (s *Scanner) visit(d *descriptor) {
	w := &s.walker
	l := w.l
	w.read++
	key := objectKey{life: l.id, id: d.inode, fd: d.fd}
	if d.inode == 0 {
		key.id = maphash.Bytes(w.seed, d.target)
	}
	var e *socket
	if d.kind == kindSocket {
		e = s.socketOf(d)
	}
	at, known := s.objects.find(key)
	if !known {
		if at, known = s.objects.add(key); !known {
			s.stats.ObjectsRefused++
			s.siteOf(d, e).Count++
			return
		}
		l.objects = append(l.objects, at)
		o := &s.objects.slab[at]
		o.birth, o.born = w.between, !w.first
		o.site = s.siteOf(d, e)
		o.provisional = d.kind == kindSocket && e == nil
	}
	o := &s.objects.slab[at]
	if o.provisional && e != nil {
		o.site, o.provisional = s.siteOf(d, e), false
	}
	o.site.Count++
	o.site.Age.add(s.now.Sub(o.birth))
	if d.kind == kindSocket {
		s.follow(o, e)
	}
	o.walk = l.walk
	if d.kind == kindEpoll || d.kind == kindInotify {
		s.watches(d)
	}
}

// socketOf finds the socket in the dump. A socket of another network namespace
// is not in it: that it is absent says nothing.
func (s *Scanner) socketOf(d *descriptor) *socket {
	s.sockets.load()
	return s.sockets.find(d.inode)
}

func (s *Scanner) siteOf(d *descriptor, e *socket) *Site {
	w := &s.walker
	w.scratch = w.scratch[:0]
	switch {
	case e != nil:
		w.scratch = append(w.scratch, s.sockets.site(e)...)
	case d.kind == kindFile:
		w.scratch = appendFileSite(w.scratch, d.target)
	}
	return w.l.sites.get(d.kind, w.scratch, s.now)
}

func (s *Scanner) watches(d *descriptor) {
	w := &s.walker
	if w.files >= watchFiles {
		return
	}
	w.files++
	n, err := s.proc.watches(w.l.pid, d.fd, d.kind)
	if err != nil {
		s.stats.count(err)
		return
	}
	if d.kind == kindInotify {
		w.inotify += n
	} else {
		w.epoll += n
	}
}
