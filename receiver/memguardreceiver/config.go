// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/scraper/scraperhelper"

	"github.com/otel-memguard/memguard/receiver/memguardreceiver/internal/metadata"
)

// Bounds of the configuration.
const (
	largestProcesses = 1 << 22 // pid_max of a 64-bit kernel
	largestObjects   = 10_000_000
	largestSites     = 1000
)

// Config of the receiver. README.md explains each key.
type Config struct {
	ControllerConfig     scraperhelper.ControllerConfig `mapstructure:",squash"`
	MetricsBuilderConfig metadata.MetricsBuilderConfig  `mapstructure:",squash"`

	// RootPath is where the root of the host's file system is mounted.
	RootPath string `mapstructure:"root_path"`
	// Include limits the processes measured to those that fit every criterion
	// which names something.
	Include MatchConfig `mapstructure:"include"`
	// Exclude drops processes that fit any criterion.
	Exclude MatchConfig `mapstructure:"exclude"`
	// Detail is about reading descriptors one by one.
	Detail DetailConfig `mapstructure:"detail"`
	// AbandonedMinAge is how long a socket whose peer is gone is watched at
	// least before it counts as abandoned.
	AbandonedMinAge time.Duration `mapstructure:"abandoned_min_age"`
	// IdleThreshold is the time without traffic after which a socket is idle.
	IdleThreshold time.Duration `mapstructure:"idle_threshold"`
	// MaxProcesses bounds the table of processes.
	MaxProcesses int `mapstructure:"max_processes"`
	// MaxObjects bounds the table of descriptors, and each socket dump.
	MaxObjects int `mapstructure:"max_objects"`
	// Audit names the extension whose outcomes the logs pipeline gets.
	Audit *component.ID `mapstructure:"audit"`
}

// DetailConfig is about reading descriptors one by one.
type DetailConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Budget is how many descriptors are read per scan.
	Budget int `mapstructure:"budget"`
	// Sites is how many sites are told apart per kind and process.
	Sites int `mapstructure:"sites"`
	// Hold is how long a process stays in detail after its count climbed.
	Hold time.Duration `mapstructure:"hold"`
	// Include names processes that are detailed without suspicion.
	Include MatchConfig `mapstructure:"include"`
	// Lifetimes turns memguard.object.lifetime and memguard.object.age on.
	Lifetimes bool `mapstructure:"lifetimes"`
}

var _ confmap.Validator = (*Config)(nil)

// Validate names every key that is wrong, with its value.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(key string, value any, want string) {
		errs = append(errs, fmt.Errorf("%s: %v %s", key, value, want))
	}
	if c.ControllerConfig.CollectionInterval <= 0 {
		wrong("collection_interval", c.ControllerConfig.CollectionInterval, "is not above 0")
	}
	if c.ControllerConfig.InitialDelay < 0 {
		wrong("initial_delay", c.ControllerConfig.InitialDelay, "is negative")
	}
	if c.ControllerConfig.Timeout < 0 {
		wrong("timeout", c.ControllerConfig.Timeout, "is negative")
	}
	if !filepath.IsAbs(c.RootPath) {
		wrong("root_path", fmt.Sprintf("%q", c.RootPath), "is not an absolute path")
	}
	if c.Detail.Budget <= 0 {
		wrong("detail::budget", c.Detail.Budget, "is not above 0")
	}
	if c.Detail.Sites < 1 || c.Detail.Sites > largestSites {
		wrong("detail::sites", c.Detail.Sites, fmt.Sprintf("is not in 1..%d", largestSites))
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"detail::hold", c.Detail.Hold},
		{"abandoned_min_age", c.AbandonedMinAge},
		{"idle_threshold", c.IdleThreshold},
	} {
		if d.value <= 0 {
			wrong(d.key, d.value, "is not above 0")
		}
	}
	if c.MaxProcesses < 1 || c.MaxProcesses > largestProcesses {
		wrong("max_processes", c.MaxProcesses, fmt.Sprintf("is not in 1..%d", largestProcesses))
	}
	if c.MaxObjects < 1 || c.MaxObjects > largestObjects {
		wrong("max_objects", c.MaxObjects, fmt.Sprintf("is not in 1..%d", largestObjects))
	}
	for _, m := range []struct {
		key    string
		config *MatchConfig
	}{
		{"include", &c.Include},
		{"exclude", &c.Exclude},
		{"detail::include", &c.Detail.Include},
	} {
		if _, err := m.config.compile(m.key); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
