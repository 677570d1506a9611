// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// Protected lists what is never touched (guard 2): exact names or globs over
// the whole name, path, cgroup or user name; ports, local and remote.
type Protected struct {
	Executables []string
	Cgroups     []string
	Units       []string // systemd units, found as elements of the cgroup path
	Owners      []string
	Ports       []uint16
}

// DefaultProtected is always in force; a configuration can only add to it.
func DefaultProtected() Protected {
	return Protected{
		Executables: []string{
			// init, log and session services
			"init", "systemd", "systemd-*", "(sd-pam)", "runit", "runsv", "s6-*", "openrc*", "supervisord", "tini", "dumb-init",
			"dbus-daemon", "dbus-broker*", "rsyslogd", "syslog-ng", "auditd", "polkitd", "udevd", "cron", "crond", "atd",
			"NetworkManager", "dhclient", "dhcpcd", "wpa_supplicant", "chronyd", "ntpd", "sssd*", "nscd", "multipathd", "iscsid",
			// logins and their shells
			"sshd", "sshd-*", "dropbear", "login", "getty", "agetty", "sudo", "su", "bash", "sh", "dash", "zsh", "fish", "ksh",
			"tmux", "tmux: *", "screen", "SCREEN",
			// container runtimes, Kubernetes, networks and storage of containers
			"dockerd", "docker-proxy", "docker-init", "containerd", "containerd-*", "runc", "crun", "conmon", "conmonrs", "crio",
			"podman", "lxd", "lxc*", "incusd", "kubelet", "kube-*", "k3s", "k3s-*", "rke2", "k0s", "microk8s*", "etcd",
			"calico-*", "bird", "bird6", "felix", "flanneld", "cilium", "cilium-*", "weaver", "antrea-*", "ovs-vswitchd",
			"ovsdb-server", "ovn-*", "multus*", "aws-k8s-agent", "ipamd", "csi-*", "*-csi", "*-csi-*", "*csi-driver*", "*csiplugin*",
			"node-driver-registrar", "rbd-nbd", "nbd-client", "nbd-server", "ceph-*", "glusterd", "glusterfsd", "rpc.*", "nfsd",
			// databases and what keeps a cluster's state
			"postgres", "postmaster", "pgbouncer", "mysqld", "mysqld_safe", "mariadbd", "mongod", "mongos", "redis-server",
			"redis-sentinel", "valkey-server", "keydb-server", "memcached", "clickhouse", "clickhouse-*", "influxd", "cockroach",
			"tikv-server", "tidb-server", "pd-server", "oracle", "ora_*", "tnslsnr", "sqlservr", "db2sysc", "consul", "vault",
			"scylla", "aerospike", "asd", "foundationdb*", "fdbserver", "couchdb", "beam.smp", "nats-server",
		},
		Units: []string{
			"cassandra.service", "elasticsearch.service", "opensearch.service", "kafka*.service", "zookeeper.service",
			"neo4j.service", "solr.service", "rabbitmq-server.service",
		},
		Ports: []uint16{22, 2379, 2380, 6443, 10250},
	}
}

// plus returns both lists together.
func (p Protected) plus(more Protected) Protected {
	return Protected{
		Executables: slices.Concat(p.Executables, more.Executables),
		Cgroups:     slices.Concat(p.Cgroups, more.Cgroups),
		Units:       slices.Concat(p.Units, more.Units),
		Owners:      slices.Concat(p.Owners, more.Owners),
		Ports:       slices.Concat(p.Ports, more.Ports),
	}
}

// subject is what guard 2 knows of a process, read from the kernel and, where
// the finding says more, from the finding.
type subject struct {
	pid    int32
	names  []string // command name, base name and path of the program
	cgroup string
	owner  string
}

// process reports whether the process may be touched, and why not.
func (p *Protected) process(s *subject) (string, bool) {
	for _, name := range s.names {
		names := []string{name, path.Base(name)}
		if pattern, ok := globAny(p.Executables, names...); ok {
			return "program " + strconv.Quote(name) + " is protected by " + strconv.Quote(pattern), false
		}
	}
	if pattern, ok := globAny(p.Cgroups, s.cgroup); ok {
		return "cgroup " + strconv.Quote(s.cgroup) + " is protected by " + strconv.Quote(pattern), false
	}
	for element := range strings.SplitSeq(s.cgroup, "/") {
		if pattern, ok := globAny(p.Units, element); ok {
			return "unit " + strconv.Quote(element) + " is protected by " + strconv.Quote(pattern), false
		}
	}
	if pattern, ok := globAny(p.Owners, s.owner); ok {
		return "user " + strconv.Quote(s.owner) + " is protected by " + strconv.Quote(pattern), false
	}
	return "not protected", true
}

// socket reports whether a connection between these ports may be touched.
func (p *Protected) socket(local, remote uint16) (string, bool) {
	for _, port := range p.Ports {
		if port == local || port == remote {
			return "port " + strconv.Itoa(int(port)) + " is protected", false
		}
	}
	return "not protected", true
}

// Contradicts reports whether a program that the policy names is protected, by
// default or by what the configuration adds.
func Contradicts(policy *Policy, more Protected) (string, bool) {
	if !policy.acts() {
		return "", false
	}
	p := DefaultProtected().plus(more)
	for _, exe := range policy.Match.Executables {
		if strings.ContainsAny(exe, "*?") {
			continue
		}
		if pattern, ok := globAny(p.Executables, exe, path.Base(exe)); ok {
			return "match::executables: " + strconv.Quote(exe) + " is protected by " + strconv.Quote(pattern), true
		}
	}
	return "", false
}
