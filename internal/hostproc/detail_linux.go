// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"cmp"
	"hash/maphash"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

const (
	deniedRetry = time.Minute
	// lifetimesNeeded is how many closed lifetimes make a p99 known.
	lifetimesNeeded = 20
	abandonedFactor = 10
	// watchFiles bounds how many fdinfo files are read per process and walk.
	watchFiles = 64
)

// walker is the state of the walk over one process's descriptors.
type walker struct {
	l       *life
	between time.Time // middle between the walk before and this
	first   bool
	read    int
	files   int
	inotify int64
	epoll   int64
	foreign bool // sockets of another network namespace were met
	scratch []byte
	seed    maphash.Seed
	seeded  bool
	visitFn func(*descriptor)
}

// detail reads the descriptors of as many processes as the budget allows:
// those that climb first, then those asked for, then the rest by turns. Each
// class goes on where it stopped at the scan before.
func (s *Scanner) detail() {
	for _, l := range s.queue {
		if l.Descriptors >= 0 && l.descriptors.observe(l.Descriptors) {
			l.heldUntil = s.now.Add(s.opts.Hold)
		}
	}
	slices.SortFunc(s.queue, func(a, b *life) int {
		return cmp.Or(cmp.Compare(a.class(s.now), b.class(s.now)), cmp.Compare(a.walkScan, b.walkScan), cmp.Compare(a.id, b.id))
	})
	left := int64(s.opts.Budget)
	for _, l := range s.queue {
		if l.Descriptors == 0 || (!l.denied.IsZero() && s.now.Sub(l.denied) < deniedRetry) {
			if !l.denied.IsZero() {
				s.stats.Denied++
			}
			continue
		}
		// One process larger than the whole budget gets its turn too.
		fits := l.Descriptors <= left || left == int64(s.opts.Budget)
		if left <= 0 || !fits {
			if l.class(s.now) != classRest {
				s.stats.Deferred++
			}
			continue
		}
		left -= int64(s.walk(l))
	}
}

// Classes of processes in the order in which they get detail.
const (
	classSuspect = iota
	classAsked
	classRest
)

func (l *life) class(now time.Time) int {
	switch {
	case now.Before(l.heldUntil):
		return classSuspect
	case l.asked:
		return classAsked
	default:
		return classRest
	}
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
	w.first, w.foreign = l.walk == 0, false
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
	if l.watches.observe(w.inotify + w.epoll) {
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

// follow keeps what is known of a socket: state, traffic, peer.
func (s *Scanner) follow(o *object, e *socket) {
	if e == nil {
		s.followUnattached(o)
		return
	}
	o.transport = e.transport
	o.site.Sockets[e.transport][min(e.state, NumStates-1)]++
	if e.transport != TransportTCP {
		return
	}
	s.followTraffic(o, e)
	if e.state != sockdiag.StateCloseWait || !s.sockets.peerGone(e) {
		o.goneSince = time.Time{}
		return
	}
	if o.goneSince.IsZero() {
		o.goneSince = s.now
	}
	s.countAbandoned(o)
}

// followTraffic counts idle sockets and learns which sites are pools.
func (s *Scanner) followTraffic(o *object, e *socket) {
	if e.idle < 0 || e.state == sockdiag.StateListen {
		return
	}
	used := e.bytes != o.bytes
	if used && o.walk != 0 {
		o.goneSince = time.Time{}
		if o.idle >= s.opts.Idle {
			o.site.Pool = true
		}
	}
	o.bytes, o.idle = e.bytes, e.idle
	if e.idle >= s.opts.Idle && !o.site.Pool {
		o.site.Idle++
	}
}

// followUnattached handles a socket that is in no table. One that was a
// connection before has died under its descriptor; one seen for the first
// time may just be younger than the dump.
func (s *Scanner) followUnattached(o *object) {
	if s.walker.l.netns != s.netns {
		s.walker.foreign = true
		return
	}
	if s.sockets.broken || s.stats.SocketsRefused > 0 {
		return
	}
	if o.walk == 0 {
		o.transport = s.proc.transportOf(s.walker.l.pid, o.key.fd)
		return
	}
	if o.transport != TransportTCP {
		return
	}
	o.site.Sockets[TransportTCP][StateUnattached]++
	o.goneSince = time.Time{}
}

func (s *Scanner) countAbandoned(o *object) {
	wait := s.opts.Abandoned
	if p99, ok := o.site.Lifetime.p99Bound(lifetimesNeeded); ok {
		wait = max(wait, abandonedFactor*p99)
	}
	if s.now.Sub(o.goneSince) >= wait {
		o.site.Abandoned++
	}
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

// transportOf asks the socket file system what an unknown socket is (net/socket.c,
// system.sockprotoname). It is asked once an object.
func (p *procfs) transportOf(pid, fd int32) uint8 {
	var value [32]byte
	n, err := unix.Getxattr(p.linkPath(pid, fd), "system.sockprotoname", value[:])
	if err != nil || n < 3 {
		return transportUnknown
	}
	if string(value[:3]) == "TCP" {
		return TransportTCP
	}
	return transportUnknown
}
