// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/otel-memguard/memguard/internal/leak"
)

func TestGlob(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"nginx", "nginx", true},
		{"nginx", "nginx2", false},
		{"nginx", "xnginx", false},
		{"nginx*", "nginx: worker", true},
		{"*-csi-*", "ebs-csi-node", true},
		{"?", "", false},
		{"*", "", true},
		{"a*b*c", "a/x/b/y/c", true},
		{"a*b*c", "acb", false},
		{"10.0.0.1:80", "10.0.0.1:8080", false},
		{"10.0.0.?:*", "10.0.0.7:1", true},
		{"10.0.0.?:*", "10.0.0.77:1", false},
		{"", "", true},
		{"**", "x", true},
	} {
		assert.Equal(t, c.want, glob(c.pattern, c.s), "%q %q", c.pattern, c.s)
	}
}

func FuzzGlob(f *testing.F) {
	f.Add("a*b?", "axxbc")
	f.Fuzz(func(t *testing.T, pattern, s string) {
		got := glob(pattern, s)
		if pattern == s && !got {
			t.Fatal("a name must match itself")
		}
		if got && !glob(pattern+"*", s+"x") {
			t.Fatal("a longer name must match the pattern with a star")
		}
	})
}

func TestPolicyMatches(t *testing.T) {
	t.Parallel()
	f := leak.NewFinding()
	f.Kind, f.Site, f.Basis = leak.KindSocket, "10.0.0.1:80", leak.BasisProof
	f.Process = leak.Process{ExecutableName: "proxy", ExecutablePath: "/opt/app/proxy", Owner: "app", Cgroup: "/system.slice/proxy.service"}
	for name, c := range map[string]struct {
		match Match
		want  bool
	}{
		"all":              {Match{}, true},
		"kind":             {Match{Kinds: []leak.Kind{leak.KindFile}}, false},
		"basis":            {Match{Basis: []leak.Basis{leak.BasisTrend}}, false},
		"name":             {Match{Executables: []string{"prox?"}}, true},
		"path":             {Match{Executables: []string{"/opt/*/proxy"}}, true},
		"part of a name":   {Match{Executables: []string{"prox"}}, false},
		"site":             {Match{Sites: []string{"10.0.0.*:80"}}, true},
		"part of a site":   {Match{Sites: []string{"10.0.0.1:8"}}, false},
		"owner and cgroup": {Match{Owners: []string{"app"}, Cgroups: []string{"/system.slice/*"}}, true},
		"another owner":    {Match{Owners: []string{"root"}}, false},
	} {
		p := Policy{Match: c.match}
		assert.Equal(t, c.want, p.matches(&f), name)
	}
}

func TestPolicyValidate(t *testing.T) {
	t.Parallel()
	good := Policy{Name: "x", Actions: []Action{ActionSocketDown}}
	require.NoError(t, good.Validate())
	for want, p := range map[string]Policy{
		"names no action; known actions are notify, socket.shutdown, socket.destroy": {Name: "x"},
		"unknown action \"reboot\"":              {Name: "x", Actions: []Action{"reboot"}},
		"name: must not be empty":                {Actions: []Action{ActionNotify}},
		"unknown kind \"sock\"":                  {Name: "x", Actions: []Action{ActionNotify}, Match: Match{Kinds: []leak.Kind{"sock"}}},
		"act on sockets, but":                    {Name: "x", Actions: []Action{ActionSocketDown}, Match: Match{Kinds: []leak.Kind{leak.KindFile}}},
		"min_idle: must not be negative, is -1s": {Name: "x", Actions: []Action{ActionNotify}, MinIdle: -time.Second},
		"peers: \"*:*\" must be host:port":       {Name: "x", Actions: []Action{ActionNotify}, Peers: []string{"*:*"}},
		"sole_holder: must be":                   {Name: "x", Actions: []Action{ActionNotify}, SoleHolder: "me"},
		"per_pass_fraction: must be above 0":     {Name: "x", Actions: []Action{ActionNotify}, PerPassFraction: 2},
	} {
		require.ErrorContains(t, p.Validate(), want)
	}
}

func TestProtectedDefaults(t *testing.T) {
	t.Parallel()
	p := DefaultProtected()
	for _, name := range []string{
		"systemd", "systemd-journald", "sshd", "sshd-session", "containerd-shim-runc-v2", "kubelet", "kube-proxy", "postgres",
		"redis-server", "ebs-csi-driver", "calico-node", "cilium-agent", "tmux: server", "/usr/lib/systemd/systemd",
	} {
		_, ok := p.process(&subject{names: []string{name}})
		assert.False(t, ok, name)
	}
	for _, name := range []string{"leaky", "myinit", "sshdx", "postgres-exporter", "/opt/systemd/app"} {
		_, ok := p.process(&subject{names: []string{name}})
		assert.True(t, ok, name)
	}
	_, ok := p.process(&subject{names: []string{"java"}, cgroup: "/system.slice/kafka.service/x"})
	assert.False(t, ok, "by unit")
	_, ok = p.socket(22, 40000)
	assert.False(t, ok)
	_, ok = p.socket(40000, 2379)
	assert.False(t, ok)
	_, ok = p.socket(2222, 40000)
	assert.True(t, ok, "a port is not a part of another")
}

func TestLimiter(t *testing.T) {
	t.Parallel()
	l := newLimiter(Limits{ProcessPerMinute: 2, ExecutablePerMinute: 3, TotalPerMinute: 100})
	now := time.Unix(1000, 0)
	take := func(instance string) bool { _, ok := l.take(now, instance, "exe"); return ok }
	assert.True(t, take("a"))
	assert.True(t, take("a"))
	assert.False(t, take("a"), "of the process")
	assert.True(t, take("b"))
	assert.False(t, take("b"), "of the program")
	l.giveBack("b", "exe")
	assert.True(t, take("b"))
	now = now.Add(30 * time.Second)
	assert.True(t, take("a"), "a token has flowed in")
	assert.False(t, take("a"))
	now = now.Add(-time.Hour)
	assert.False(t, take("a"), "a clock that jumps back gives nothing")
}

func TestQueueIsBoundedAndKeepsTheNewest(t *testing.T) {
	t.Parallel()
	q := newQueue(2)
	f := leak.NewFinding()
	p := &leak.Provenance{HostID: "ours"}
	f.ID, f.Provenance = "a", p
	assert.True(t, q.put(f))
	p.HostID = "changed by the caller"
	f.ID = "b"
	assert.True(t, q.put(f))
	f.ID = "c"
	assert.False(t, q.put(f))
	f.ID, f.Value = "b", 7
	assert.True(t, q.put(f), "known: replaced")
	taken := q.take()
	require.Len(t, taken, 2)
	assert.Equal(t, "ours", taken["a"].Provenance.HostID)
	assert.InDelta(t, 7, taken["b"].Value, 0)
	assert.Empty(t, q.take())
}
