// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"path"
	"strings"

	"github.com/otel-memguard/memguard/internal/leak"
)

type use uint8

const (
	useTrend use = iota
	useIdle
	useProof
	useLimit
	useStart // the creation time of the process, in seconds
	useLifetime
	useAge
)

// rule says how a metric is judged.
type rule struct {
	metric string
	use    use
	kind   leak.Kind // "" where the points say it
	limit  string
	scope  string
	sites  []string
	states bool // the points say whether their objects can be used again
}

// maxNames bounds the remembered decisions on metric names.
const maxNames = 10_000

// watchList finds the rule for a metric name.
type watchList struct {
	exact map[string]*rule
	globs []glob
	names map[string]*rule // decisions on names that no exact rule has
}

type glob struct {
	pattern string
	rule    *rule // nil: ignore
}

func newWatchList(extra []WatchConfig) *watchList {
	w := &watchList{exact: map[string]*rule{}, names: map[string]*rule{}}
	for _, r := range builtin() {
		w.add(&r)
	}
	for i := range extra {
		c := &extra[i]
		var r *rule
		if !c.Ignore {
			scope := c.LimitScope
			if scope == "" {
				scope = "process"
			}
			r = &rule{metric: c.Metric, kind: c.Kind, limit: c.LimitMetric, scope: scope, sites: c.SiteAttributes}
		}
		switch {
		case strings.ContainsAny(c.Metric, "*?["):
			w.globs = append(w.globs, glob{c.Metric, r})
			if r != nil {
				w.limit(r)
			}
			if c.Ignore {
				w.ignore(c.Metric)
			}
		case r == nil:
			w.exact[c.Metric] = nil
		default:
			w.add(r)
		}
	}
	return w
}

func (w *watchList) add(r *rule) {
	w.exact[r.metric] = r
	w.limit(r)
}

// limit sees to it that the limit of r is read.
func (w *watchList) limit(r *rule) {
	if r.limit != "" {
		if _, ok := w.exact[r.limit]; !ok {
			w.exact[r.limit] = &rule{metric: r.limit, use: useLimit}
		}
	}
}

func (w *watchList) ignore(pattern string) {
	for name := range w.exact {
		if ok, _ := path.Match(pattern, name); ok {
			w.exact[name] = nil
		}
	}
}

// find returns nil for a metric that is not watched.
func (w *watchList) find(name string) *rule {
	if r, ok := w.exact[name]; ok || len(w.globs) == 0 {
		return r
	}
	if r, ok := w.names[name]; ok {
		return r
	}
	r := w.match(name)
	if len(w.names) < maxNames {
		w.names[strings.Clone(name)] = r
	}
	return r
}

func (w *watchList) match(name string) *rule {
	for _, g := range w.globs {
		if ok, _ := path.Match(g.pattern, name); !ok {
			continue
		}
		if g.rule == nil {
			return nil
		}
		r := *g.rule
		r.metric = strings.Clone(name)
		return &r
	}
	return nil
}

// builtin is the table of metrics that are watched without being asked: the
// vocabulary's, and those of host_metrics, Prometheus clients and runtimes.
func builtin() []rule {
	site := []string{leak.AttrSite}
	return []rule{
		{metric: leak.MetricDescriptorCount, kind: leak.KindDescriptor, limit: leak.MetricDescriptorLimit, scope: "process"},
		{metric: leak.MetricDescriptorBySite, sites: site},
		{metric: leak.MetricDescriptorIdle, use: useIdle, sites: site},
		{metric: leak.MetricSocketCount, kind: leak.KindSocket, sites: site, states: true},
		{metric: leak.MetricSocketAbandoned, use: useProof, kind: leak.KindSocket, sites: site},
		{metric: leak.MetricObjectLifetime, use: useLifetime, sites: site},
		{metric: leak.MetricObjectAge, use: useAge, sites: site},
		{metric: leak.MetricWatchCount},
		{metric: leak.MetricMemoryUsage, kind: leak.KindMemory},
		{metric: leak.MetricMemoryAnonymous, kind: leak.KindMemory},
		{metric: leak.MetricThreadCount, kind: leak.KindThread},
		{metric: leak.MetricGoroutineCount, kind: leak.KindGoroutine},
		{metric: leak.MetricGoroutineBlocked, kind: leak.KindGoroutine, sites: site},
		{metric: leak.MetricGoroutineLeaked, use: useProof, kind: leak.KindGoroutine, sites: site},
		{metric: leak.MetricHeapLive, kind: leak.KindMemory},
		{metric: leak.MetricTimerCount, kind: leak.KindTimer},
		{metric: "memguard.agent.object.count", sites: site},
		{metric: "container.memory.usage", kind: leak.KindMemory, limit: "memguard.cgroup.memory.limit", scope: "cgroup"},
		{metric: "memguard.cgroup.pids.count", kind: leak.KindThread, limit: "memguard.cgroup.pids.limit", scope: "cgroup"},

		{metric: "process.open_file_descriptors", kind: leak.KindDescriptor},
		{metric: "process.open_file_descriptor.count", kind: leak.KindDescriptor},
		{metric: "process.threads", kind: leak.KindThread},
		{metric: "process.windows.handle.count", kind: leak.KindDescriptor},
		{metric: "process.handles", kind: leak.KindDescriptor},

		{metric: "process_open_fds", kind: leak.KindDescriptor, limit: "process_max_fds", scope: "process"},
		{metric: "process_resident_memory_bytes", kind: leak.KindMemory},
		{metric: "process_start_time_seconds", use: useStart},
		{metric: "go_goroutines", kind: leak.KindGoroutine},
		{metric: "go_threads", kind: leak.KindThread},
		{metric: "go_memstats_heap_alloc_bytes", kind: leak.KindMemory},
		{metric: "go_memstats_heap_inuse_bytes", kind: leak.KindMemory},

		{metric: "process.runtime.go.goroutines", kind: leak.KindGoroutine},
		{metric: "go.memory.used", kind: leak.KindMemory},
		{metric: "jvm.memory.used_after_last_gc", kind: leak.KindMemory, sites: []string{"jvm.memory.pool.name"}},
		{metric: "jvm.thread.count", kind: leak.KindThread},
		{metric: "jvm.file_descriptor.count", kind: leak.KindDescriptor, limit: "jvm.file_descriptor.limit", scope: "process"},
	}
}
