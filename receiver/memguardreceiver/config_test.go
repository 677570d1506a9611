// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

func TestLoadConfig(t *testing.T) {
	t.Parallel()
	conf, err := confmaptest.LoadConf(filepath.Join("testdata", "config.yaml"))
	require.NoError(t, err)
	load := func(t *testing.T, name string) *Config {
		t.Helper()
		sub, err := conf.Sub(name)
		require.NoError(t, err)
		cfg := createDefaultConfig().(*Config)
		require.NoError(t, sub.Unmarshal(cfg))
		return cfg
	}
	t.Run("default", func(t *testing.T) {
		t.Parallel()
		cfg := load(t, "memguard")
		assert.Equal(t, createDefaultConfig(), cfg)
		assert.NoError(t, confmap.Validate(cfg))
	})
	t.Run("full", func(t *testing.T) {
		t.Parallel()
		cfg := load(t, "memguard/full")
		require.NoError(t, confmap.Validate(cfg))
		audit := component.MustNewIDWithName("auto_fix", "prod")
		want := createDefaultConfig().(*Config)
		want.ControllerConfig.CollectionInterval = 5 * time.Second
		want.ControllerConfig.InitialDelay = 0
		want.RootPath = "/hostfs"
		want.Audit = &audit
		want.AbandonedMinAge = time.Minute
		want.IdleThreshold = time.Minute
		want.MaxProcesses = 100
		want.MaxObjects = 1000
		want.Include.Executable = NameMatchConfig{Names: []string{"nginx", "/opt/*/bin/server"}, MatchType: MatchTypeGlob}
		want.Exclude.Owner = NameMatchConfig{Names: []string{"root"}}
		want.Detail = DetailConfig{
			Enabled: true, Budget: 500, Sites: 5, Hold: 10 * time.Minute,
			Include: MatchConfig{Cgroup: NameMatchConfig{Names: []string{"^/system.slice/"}, MatchType: MatchTypeRegexp}},
		}
		want.MetricsBuilderConfig.ResourceAttributes.ProcessCommandLine.Enabled = true
		want.MetricsBuilderConfig.Metrics.ProcessUptime.Enabled = false
		// Unmarshal notes which toggles were given; that is not the subject.
		want.MetricsBuilderConfig = cfg.MetricsBuilderConfig
		assert.True(t, cfg.MetricsBuilderConfig.ResourceAttributes.ProcessCommandLine.Enabled)
		assert.False(t, cfg.MetricsBuilderConfig.Metrics.ProcessUptime.Enabled)
		assert.Equal(t, want, cfg)
	})
	t.Run("unknown key", func(t *testing.T) {
		t.Parallel()
		sub, err := conf.Sub("memguard/unknown")
		require.NoError(t, err)
		assert.ErrorContains(t, sub.Unmarshal(createDefaultConfig()), "rootpath")
	})
}

func TestValidate(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*Config)
		want   []string
	}{
		{"interval", func(c *Config) { c.ControllerConfig.CollectionInterval = -time.Second }, []string{"collection_interval: -1s is not above 0"}},
		{"delay", func(c *Config) { c.ControllerConfig.InitialDelay = -1 }, []string{"initial_delay: -1ns is negative"}},
		{"root", func(c *Config) { c.RootPath = "hostfs" }, []string{`root_path: "hostfs" is not an absolute path`}},
		{"budget", func(c *Config) { c.Detail.Budget = 0 }, []string{"detail::budget: 0 is not above 0"}},
		{"sites", func(c *Config) { c.Detail.Sites = 1001 }, []string{"detail::sites: 1001 is not in 1..1000"}},
		{"hold", func(c *Config) { c.Detail.Hold = -time.Minute }, []string{"detail::hold: -1m0s is not above 0"}},
		{"ages", func(c *Config) { c.AbandonedMinAge, c.IdleThreshold = 0, 0 }, []string{"abandoned_min_age: 0s", "idle_threshold: 0s"}},
		{"bounds", func(c *Config) { c.MaxProcesses, c.MaxObjects = 0, -5 }, []string{"max_processes: 0", "max_objects: -5"}},
		{
			"match type",
			func(c *Config) { c.Include.Owner = NameMatchConfig{Names: []string{"x"}, MatchType: "fuzzy"} },
			[]string{`include::owner::match_type: "fuzzy" is not one of strict, glob, regexp`},
		},
		{
			"regexp",
			func(c *Config) {
				c.Exclude.Cgroup = NameMatchConfig{Names: []string{"ok", "("}, MatchType: MatchTypeRegexp}
			},
			[]string{`exclude::cgroup::names::1: "("`},
		},
		{
			"names",
			func(c *Config) { c.Detail.Include.Executable = NameMatchConfig{Names: []string{""}} },
			[]string{`detail::include::executable::names::0: "" is empty`},
		},
		{
			"no names",
			func(c *Config) { c.Include.Executable.MatchType = MatchTypeGlob },
			[]string{`include::executable::names: is empty beside match_type "glob"`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := createDefaultConfig().(*Config)
			tt.change(cfg)
			err := cfg.Validate()
			for _, want := range tt.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

func TestMatch(t *testing.T) {
	t.Parallel()
	const name, path, owner, cgroup = "nginx", "/usr/sbin/nginx", "www", "/system.slice/nginx.service"
	one := func(t MatchType, names ...string) NameMatchConfig {
		return NameMatchConfig{Names: names, MatchType: t}
	}
	for _, tt := range []struct {
		name     string
		config   MatchConfig
		all, any bool
	}{
		{"nothing", MatchConfig{}, true, false},
		{"name", MatchConfig{Executable: one("", "redis", "nginx")}, true, true},
		{"path", MatchConfig{Executable: one(MatchTypeStrict, path)}, true, true},
		{"part of a name", MatchConfig{Executable: one(MatchTypeStrict, "ngin")}, false, false},
		{"glob over directories", MatchConfig{Executable: one(MatchTypeGlob, "/usr/*x")}, true, true},
		{"glob is anchored", MatchConfig{Executable: one(MatchTypeGlob, "gin?")}, false, false},
		{"glob takes dots literally", MatchConfig{Cgroup: one(MatchTypeGlob, "/system.slice/nginx?service")}, true, true},
		{"regexp", MatchConfig{Cgroup: one(MatchTypeRegexp, `nginx\.service$`)}, true, true},
		{"all needs every criterion", MatchConfig{Executable: one("", name), Owner: one("", "root")}, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m, err := tt.config.compile("include")
			require.NoError(t, err)
			assert.Equal(t, tt.all, m.all(name, path, owner, cgroup))
			assert.Equal(t, tt.any, m.any(name, path, owner, cgroup))
		})
	}
}
