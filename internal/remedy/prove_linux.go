// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/procid"
	"github.com/otel-memguard/memguard/internal/sockdiag"
)

// host is the identity of the machine, and its processes.
type host struct {
	procfs
	hostID, bootID string
}

// sameProcess reports whether the process behind the pid is still the one of
// the finding: host, boot, pid, start time and program at once.
func (h *host) sameProcess(p *leak.Process) (string, bool) {
	id, err := procid.Read(h.root, h.hostID, h.bootID, p.PID)
	if err != nil {
		return err.Error(), false
	}
	if id.InstanceID() != p.InstanceID {
		return fmt.Sprintf("pid %d is another process now", p.PID), false
	}
	return "", true
}

// ended reports that the process has surely ended: what cannot be read may
// still live.
func (h *host) ended(p *leak.Process) bool {
	id, err := procid.Read(h.root, h.hostID, h.bootID, p.PID)
	return errors.Is(err, procid.ErrGone) || err == nil && id.InstanceID() != p.InstanceID
}

// proof is the answer of the kernel about one descriptor, from a copy that
// was held for the time of these questions only.
type proof struct {
	identity   string // why the identity is not proven, "" if it is
	listener   string // why it may accept connections, "" if it does not
	kernelUser string // who in the kernel may use it, "" if nobody
	unread     string // why nothing could be asked, "" if it could
	info       tcpInfo
}

// tcpInfo is what the last look needs: of struct tcp_info, and the bytes in
// the queues.
type tcpInfo struct {
	state                 uint8
	acked, received, sent uint64
	unread, unsent        int // SIOCINQ and SIOCOUTQ (man 7 tcp)
}

// prove asks about the object, and if act is given and no answer forbids it,
// calls it with the copy in the same breath. The copy is closed before prove
// returns: it keeps the connection alive as long as it is there.
func (h *host) prove(process *leak.Process, key *objectKey, id *sockdiag.ID, act func(copied int, p *proof)) proof {
	var p proof
	pidfd, err := unix.PidfdOpen(int(process.PID), 0)
	if err != nil {
		p.unread = "pidfd_open: " + err.Error()
		return p
	}
	defer unix.Close(pidfd) //nolint:errcheck // nothing is lost
	if why, ok := h.sameProcess(process); !ok {
		p.identity = why
	}
	copied, err := unix.PidfdGetfd(pidfd, int(key.fd), 0)
	if err != nil {
		p.unread = "pidfd_getfd: " + err.Error()
		return p
	}
	defer unix.Close(copied) //nolint:errcheck // nothing is lost
	if p.identity == "" {
		p.identity = sameSocket(process.PID, copied, key, id)
	}
	p.listener = accepts(copied)
	p.kernelUser = usedByKernel(copied)
	if p.listener == "" { // a listener has no queues to ask for
		if p.info, err = readInfo(copied); err != nil {
			p.unread = err.Error()
		}
	}
	if act != nil && p.ok() {
		act(copied, &p)
	}
	return p
}

func (p *proof) ok() bool {
	return p.identity == "" && p.listener == "" && p.kernelUser == "" && p.unread == ""
}

func (p *proof) why() string {
	for _, why := range []string{p.unread, p.identity, p.listener, p.kernelUser} {
		if why != "" {
			return why
		}
	}
	return ""
}

// refusal names the guard to which the failed proof belongs.
func (p *proof) refusal() *Verdict {
	guard := GuardIdentity
	switch {
	case p.unread != "" || p.identity != "":
	case p.listener != "":
		guard = GuardListener
	case p.kernelUser != "":
		guard = GuardSoleHolder
	}
	return &Verdict{Guard: guard, Name: guard.String(), Reason: p.why()}
}

func sameSocket(pid int32, copied int, key *objectKey, id *sockdiag.ID) string {
	var st unix.Stat_t
	if err := unix.Fstat(copied, &st); err != nil {
		return "fstat: " + err.Error()
	}
	if st.Ino != key.inode || st.Mode&unix.S_IFMT != unix.S_IFSOCK {
		return fmt.Sprintf("descriptor %d leads to inode %d, not to socket %d", key.fd, st.Ino, key.inode)
	}
	cookie, err := unix.GetsockoptUint64(copied, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return "SO_COOKIE: " + err.Error()
	}
	if cookie == 0 || cookie != key.cookie || cookie != id.Cookie {
		return fmt.Sprintf("descriptor %d holds the socket with cookie %d, not %d", key.fd, cookie, key.cookie)
	}
	same, err := kcmp(int(pid), os.Getpid(), kcmpFile, uintptr(key.fd), uintptr(copied))
	if err != nil {
		return "kcmp: " + err.Error()
	}
	if !same {
		return "the copy is not the open file of the process"
	}
	return ""
}

func accepts(copied int) string {
	switch on, err := unix.GetsockoptInt(copied, unix.SOL_SOCKET, unix.SO_ACCEPTCONN); {
	case err != nil:
		return "SO_ACCEPTCONN: " + err.Error()
	case on != 0:
		return "the socket accepts connections"
	default:
		return ""
	}
}

// usedByKernel refuses sockets that are more than TCP to the kernel: kTLS and
// others by their upper layer protocol, MPTCP and SMC by their protocol.
func usedByKernel(copied int) string {
	domain, err := unix.GetsockoptInt(copied, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return "SO_DOMAIN: " + err.Error()
	}
	protocol, err := unix.GetsockoptInt(copied, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	if err != nil {
		return "SO_PROTOCOL: " + err.Error()
	}
	if domain != unix.AF_INET && domain != unix.AF_INET6 || protocol != unix.IPPROTO_TCP {
		return fmt.Sprintf("socket of family %d and protocol %d is not plain TCP", domain, protocol)
	}
	ulp, err := unix.GetsockoptString(copied, unix.IPPROTO_TCP, unix.TCP_ULP)
	switch {
	case errors.Is(err, unix.ENOPROTOOPT):
		return "" // a kernel without upper layer protocols
	case err != nil:
		return "TCP_ULP: " + err.Error()
	case ulp != "":
		return fmt.Sprintf("the kernel runs %q on the socket", ulp)
	default:
		return ""
	}
}

func readInfo(copied int) (tcpInfo, error) {
	info, err := unix.GetsockoptTCPInfo(copied, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return tcpInfo{}, fmt.Errorf("TCP_INFO: %w", err)
	}
	i := tcpInfo{state: info.State, acked: info.Bytes_acked, received: info.Bytes_received, sent: info.Bytes_sent}
	if i.unread, err = unix.IoctlGetInt(copied, unix.SIOCINQ); err != nil {
		return tcpInfo{}, fmt.Errorf("SIOCINQ: %w", err)
	}
	if i.unsent, err = unix.IoctlGetInt(copied, unix.SIOCOUTQ); err != nil {
		return tcpInfo{}, fmt.Errorf("SIOCOUTQ: %w", err)
	}
	return i, nil
}

// changed reports what moved since the watch's first sight.
func (i tcpInfo) changed(s *sight) (string, bool) {
	switch {
	case i.state != s.state:
		return fmt.Sprintf("state changed from %s to %s", sockdiag.StateName(s.state), sockdiag.StateName(i.state)), true
	case i.received != s.received || i.acked != s.acked || i.sent != s.sent:
		return "bytes were moved", true
	case i.unread != s.unreadBytes() || i.unsent != int(s.sendQueue):
		return "the owner or the kernel took bytes out of a queue", true
	default:
		return "", false
	}
}

// unreadBytes is what SIOCINQ says of a socket with this receive queue: it
// does not count the peer's end of stream, which the queue holds as one byte
// (tcp_inq in include/net/tcp.h).
func (s *sight) unreadBytes() int {
	n := int(s.recvQueue)
	if n > 0 && s.state != sockdiag.StateEstablished {
		n--
	}
	return n
}
