// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/sockdiag"
)

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
	if e.state != sockdiag.StateCloseWait || !s.sockets.peerGone(e, &o.peerSeen) {
		o.goneSince, o.abandoned = time.Time{}, false
		return
	}
	s.countAbandoned(o, e)
}

// followTraffic counts idle sockets and learns which sites are pools.
func (s *Scanner) followTraffic(o *object, e *socket) {
	if e.idle < 0 || e.state == sockdiag.StateListen {
		return
	}
	used := e.bytes != o.bytes
	if used && o.walk != 0 {
		o.goneSince, o.abandoned = time.Time{}, false
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
	o.goneSince, o.abandoned = time.Time{}, false
}

// countAbandoned counts a socket that has been alone for long enough. Once it
// counts it goes on to, though the site's p99 may rise: what was long enough
// does not become too short.
func (s *Scanner) countAbandoned(o *object, e *socket) {
	if !o.abandoned {
		o.abandoned = s.alone(o, e)
	}
	if o.abandoned {
		o.site.Abandoned++
		s.walker.abandoned = true
	}
}

// alone reports that the peer was gone for long enough, and asks the kernel
// about it at the begin and at the end of that time.
func (s *Scanner) alone(o *object, e *socket) bool {
	wait := s.opts.Abandoned
	if p99, ok := o.site.Lifetime.p99Bound(lifetimesNeeded); ok {
		wait = max(wait, abandonedFactor*p99)
	}
	begun := !o.goneSince.IsZero()
	if begun && s.now.Sub(o.goneSince) < wait {
		return false
	}
	if !s.sockets.peerSurelyGone(e, &o.peerSeen) {
		o.goneSince = time.Time{}
		return false
	}
	if !begun {
		o.goneSince = s.now
	}
	return begun
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
