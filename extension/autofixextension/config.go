// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-memguard/memguard/internal/leak"
	"github.com/otel-memguard/memguard/internal/remedy"
)

// Config is the configuration of auto_fix.
type Config struct {
	// Mode is dry_run, approve or enforce.
	Mode string `mapstructure:"mode"`
	// Directory holds the journal, the kill switch and the control socket.
	Directory string `mapstructure:"directory"`
	// RuntimeDirectory holds the host's lease, and is the same for all
	// collectors of a host. Empty: /run/memguard for root, a directory under
	// XDG_RUNTIME_DIR for others who have one, else Directory.
	RuntimeDirectory string `mapstructure:"runtime_directory"`
	// Storage is an extension that must start before this one.
	Storage *component.ID `mapstructure:"storage"`
	// Policies are asked in order; the first that matches a finding decides.
	Policies []PolicyConfig `mapstructure:"policies"`
	// Protected is added to what is always protected.
	Protected ProtectedConfig `mapstructure:"protected"`
	// Limits hold over all policies.
	Limits LimitsConfig `mapstructure:"limits"`
	// WatchInterval is the time between two looks at watched objects.
	WatchInterval time.Duration `mapstructure:"watch_interval"`
	// VerifyTimeout is how long the effect of an act may take to show.
	VerifyTimeout time.Duration `mapstructure:"verify_timeout"`
	// ApprovalTimeout is how long a proposal waits for a person.
	ApprovalTimeout time.Duration `mapstructure:"approval_timeout"`
	// QueueSize bounds the findings that wait for the worker.
	QueueSize int `mapstructure:"queue_size"`
	// MaxFindings bounds the findings under treatment.
	MaxFindings int `mapstructure:"max_findings"`
	// MaxObjects bounds the objects watched.
	MaxObjects int `mapstructure:"max_objects"`
	// Journal bounds the journal.
	Journal JournalConfig `mapstructure:"journal"`
}

// PolicyConfig is one policy.
type PolicyConfig struct {
	Name                string             `mapstructure:"name"`
	Match               MatchConfig        `mapstructure:"match"`
	Actions             []string           `mapstructure:"actions"`
	MinIdle             time.Duration      `mapstructure:"min_idle"`
	Peers               []string           `mapstructure:"peers"`
	RemotePeerGoneAfter time.Duration      `mapstructure:"remote_peer_gone_after"`
	SoleHolder          string             `mapstructure:"sole_holder"`
	Limits              PolicyLimitsConfig `mapstructure:"limits"`
}

// MatchConfig says which findings a policy is for; an empty list matches all.
type MatchConfig struct {
	Kinds       []string `mapstructure:"kinds"`
	Sites       []string `mapstructure:"sites"`
	Basis       []string `mapstructure:"basis"`
	Executables []string `mapstructure:"executables"`
	Owners      []string `mapstructure:"owners"`
	Cgroups     []string `mapstructure:"cgroups"`
}

// PolicyLimitsConfig bounds one pass.
type PolicyLimitsConfig struct {
	PerPassFraction float64 `mapstructure:"per_pass_fraction"`
	MaxBatch        int     `mapstructure:"max_batch"`
}

// ProtectedConfig lists what is never touched, beside the defaults.
type ProtectedConfig struct {
	Executables []string `mapstructure:"executables"`
	Cgroups     []string `mapstructure:"cgroups"`
	Units       []string `mapstructure:"units"`
	Owners      []string `mapstructure:"owners"`
	Ports       []int    `mapstructure:"ports"`
}

// LimitsConfig are rates, in acts a minute.
type LimitsConfig struct {
	ProcessPerMinute    float64       `mapstructure:"process_per_minute"`
	ExecutablePerMinute float64       `mapstructure:"executable_per_minute"`
	TotalPerMinute      float64       `mapstructure:"total_per_minute"`
	Cooldown            time.Duration `mapstructure:"cooldown"`
}

// JournalConfig bounds the journal.
type JournalConfig struct {
	SegmentSize int64 `mapstructure:"segment_size"`
	Segments    int   `mapstructure:"segments"`
}

var _ confmap.Validator = (*Config)(nil)

func createDefaultConfig() component.Config {
	limits := remedy.DefaultLimits()
	return &Config{
		Mode:      string(remedy.ModeDryRun),
		Directory: "/var/lib/memguard",
		Limits: LimitsConfig{
			ProcessPerMinute: limits.ProcessPerMinute, ExecutablePerMinute: limits.ExecutablePerMinute,
			TotalPerMinute: limits.TotalPerMinute, Cooldown: limits.Cooldown,
		},
		WatchInterval:   remedy.DefaultWatchInterval,
		VerifyTimeout:   remedy.DefaultVerifyTimeout,
		ApprovalTimeout: remedy.DefaultApprovalTimeout,
		QueueSize:       remedy.DefaultQueueSize,
		MaxFindings:     remedy.DefaultMaxFindings,
		MaxObjects:      remedy.DefaultMaxObjects,
		Journal:         JournalConfig{SegmentSize: remedy.DefaultSegmentSize, Segments: remedy.DefaultSegments},
	}
}

// Validate names each key that is wrong and its value.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !slices.Contains(remedy.Modes(), remedy.Mode(c.Mode)) {
		bad("mode: must be one of %v, is %q", remedy.Modes(), c.Mode)
	}
	switch {
	case c.Directory == "":
		bad("directory: must not be empty: it holds the journal and the kill switch")
	case !filepath.IsAbs(c.Directory):
		bad("directory: must be an absolute path, is %q", c.Directory)
	}
	if c.RuntimeDirectory != "" && !filepath.IsAbs(c.RuntimeDirectory) {
		bad("runtime_directory: must be an absolute path, is %q", c.RuntimeDirectory)
	}
	for key, d := range map[string]time.Duration{
		"watch_interval": c.WatchInterval, "verify_timeout": c.VerifyTimeout, "approval_timeout": c.ApprovalTimeout,
	} {
		if d <= 0 {
			bad("%s: must be positive, is %s", key, d)
		}
	}
	for key, n := range map[string]int{
		"queue_size": c.QueueSize, "max_findings": c.MaxFindings, "max_objects": c.MaxObjects, "journal::segments": c.Journal.Segments,
	} {
		if n <= 0 {
			bad("%s: must be positive, is %d", key, n)
		}
	}
	if c.Journal.SegmentSize < minSegmentSize {
		bad("journal::segment_size: must be at least %d bytes, is %d", minSegmentSize, c.Journal.SegmentSize)
	}
	errs = append(errs, c.Limits.check()...)
	for _, port := range c.Protected.Ports {
		if port < 1 || port > 65535 {
			bad("protected::ports: must be ports, 1 to 65535, is %d", port)
		}
	}
	errs = append(errs, c.checkPolicies()...)
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// minSegmentSize is room for a few of the largest records that are usual.
const minSegmentSize = 64 << 10

func (l *LimitsConfig) check() []error {
	var errs []error
	for key, rate := range map[string]float64{
		"process_per_minute": l.ProcessPerMinute, "executable_per_minute": l.ExecutablePerMinute, "total_per_minute": l.TotalPerMinute,
	} {
		if !(rate > 0 && rate <= 1e6) {
			errs = append(errs, fmt.Errorf("limits::%s: must be above 0 and at most 1000000, is %v", key, rate))
		}
	}
	if l.Cooldown < 0 {
		errs = append(errs, fmt.Errorf("limits::cooldown: must not be negative, is %s", l.Cooldown))
	}
	return errs
}

func (c *Config) checkPolicies() []error {
	var errs []error
	names := map[string]bool{}
	protected := c.Protected.settings()
	for i := range c.Policies {
		p := c.Policies[i].policy()
		at := fmt.Sprintf("policies::%d (%q)", i, p.Name)
		if err := p.Validate(); err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				errs = append(errs, fmt.Errorf("%s: %s", at, line))
			}
		}
		if names[p.Name] {
			errs = append(errs, fmt.Errorf("%s: name: is used twice", at))
		}
		names[p.Name] = true
		if why, never := remedy.Contradicts(&p, protected); never {
			errs = append(errs, fmt.Errorf("%s: %s, so the policy could never act", at, why))
		}
	}
	return errs
}

func (c *PolicyConfig) policy() remedy.Policy {
	return remedy.Policy{
		Name: c.Name,
		Match: remedy.Match{
			Kinds: typed[leak.Kind](c.Match.Kinds), Sites: c.Match.Sites, Basis: typed[leak.Basis](c.Match.Basis),
			Executables: c.Match.Executables, Owners: c.Match.Owners, Cgroups: c.Match.Cgroups,
		},
		Actions: typed[remedy.Action](c.Actions),
		MinIdle: c.MinIdle, Peers: c.Peers, RemotePeerGoneAfter: c.RemotePeerGoneAfter,
		SoleHolder:      remedy.SoleHolder(c.SoleHolder),
		PerPassFraction: c.Limits.PerPassFraction, MaxBatch: c.Limits.MaxBatch,
	}
}

func (c *ProtectedConfig) settings() remedy.Protected {
	p := remedy.Protected{Executables: c.Executables, Cgroups: c.Cgroups, Units: c.Units, Owners: c.Owners}
	for _, port := range c.Ports {
		p.Ports = append(p.Ports, uint16(port))
	}
	return p
}

func typed[T ~string](values []string) []T {
	if values == nil {
		return nil
	}
	out := make([]T, len(values))
	for i, v := range values {
		out[i] = T(v)
	}
	return out
}

// settings returns what the engine needs.
func (c *Config) settings() remedy.Settings {
	s := remedy.Settings{
		Mode: remedy.Mode(c.Mode), Directory: c.Directory, RuntimeDirectory: c.runtimeDirectory(),
		Protected: c.Protected.settings(),
		Limits: remedy.Limits{
			ProcessPerMinute: c.Limits.ProcessPerMinute, ExecutablePerMinute: c.Limits.ExecutablePerMinute,
			TotalPerMinute: c.Limits.TotalPerMinute, Cooldown: c.Limits.Cooldown,
		},
		WatchInterval: c.WatchInterval, VerifyTimeout: c.VerifyTimeout, ApprovalTimeout: c.ApprovalTimeout,
		QueueSize: c.QueueSize, MaxFindings: c.MaxFindings, MaxObjects: c.MaxObjects,
		Journal: remedy.JournalOptions{SegmentSize: c.Journal.SegmentSize, Segments: c.Journal.Segments},
	}
	for i := range c.Policies {
		s.Policies = append(s.Policies, c.Policies[i].policy())
	}
	return s
}

func (c *Config) runtimeDirectory() string {
	switch session := os.Getenv("XDG_RUNTIME_DIR"); {
	case c.RuntimeDirectory != "":
		return c.RuntimeDirectory
	case os.Geteuid() == 0:
		return "/run/memguard"
	case filepath.IsAbs(session):
		return filepath.Join(session, "memguard")
	default:
		return c.Directory
	}
}
