// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const (
	ownersRefresh = time.Minute
	maxOwners     = 65536
	maxPasswd     = 16 << 20
)

// owners maps user ids to names by the host's own passwd file. Users of other
// sources (LDAP, sssd) and of containers keep their number.
type owners struct {
	file     string
	names    map[uint32]string
	read     time.Time
	modified time.Time
}

func newOwners(root string) *owners {
	return &owners{file: filepath.Join(root, "etc/passwd"), names: map[uint32]string{}}
}

func (o *owners) name(uid uint32, now time.Time) string {
	if o.read.IsZero() || now.Sub(o.read) > ownersRefresh {
		o.read = now
		o.load()
	}
	if name, ok := o.names[uid]; ok {
		return name
	}
	return strconv.FormatUint(uint64(uid), 10)
}

func (o *owners) load() {
	info, err := os.Stat(o.file)
	if err != nil || info.ModTime().Equal(o.modified) || info.Size() > maxPasswd || !info.Mode().IsRegular() {
		return
	}
	text, err := os.ReadFile(o.file)
	if err != nil {
		return
	}
	o.modified = info.ModTime()
	o.names = parsePasswd(text)
}

// parsePasswd reads the names and numbers of man 5 passwd. The first name of a
// number wins, as in the C library.
func parsePasswd(text []byte) map[uint32]string {
	names := map[uint32]string{}
	for line := range bytes.Lines(text) {
		fields := bytes.SplitN(line, []byte{':'}, 4)
		if len(fields) < 4 || len(fields[0]) == 0 || len(fields[0]) > 256 {
			continue
		}
		uid, ok := parseUint(fields[2])
		if !ok || uid > 1<<32-1 {
			continue
		}
		if _, taken := names[uint32(uid)]; !taken && len(names) < maxOwners {
			names[uint32(uid)] = cleanText(string(fields[0]))
		}
	}
	return names
}
