// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// Mode says where the chain from proposal to verification stops.
type Mode string

// The modes, from the weakest to the strongest.
const (
	ModeDryRun  Mode = "dry_run"
	ModeApprove Mode = "approve"
	ModeEnforce Mode = "enforce"
)

// Modes lists the modes from the weakest to the strongest.
func Modes() []Mode { return []Mode{ModeDryRun, ModeApprove, ModeEnforce} }

// Action is what a policy allows to be done.
type Action string

// The actions of this version.
const (
	ActionNotify        Action = "notify"
	ActionSocketDown    Action = "socket.shutdown"
	ActionSocketDestroy Action = "socket.destroy"
)

// Actions lists the actions of this version.
func Actions() []Action { return []Action{ActionNotify, ActionSocketDown, ActionSocketDestroy} }

// SoleHolder says over which processes the sole-holder proof (guard 7) must
// see.
type SoleHolder string

// Host demands sight of every process of the host. SameUser accepts that
// processes of other users cannot be read, where they can have got the
// socket by no inheritance: see docs/decisions/0009.
const (
	SoleHolderHost     SoleHolder = "host"
	SoleHolderSameUser SoleHolder = "same_user"
)

// Match says which findings a policy is for. An empty list matches all. Names
// are exact or globs (* and ?), over the whole of the value.
type Match struct {
	Kinds       []leak.Kind
	Sites       []string
	Basis       []leak.Basis
	Executables []string // a name, or a path where the pattern holds a slash
	Owners      []string
	Cgroups     []string
}

// Policy is one rule of an operator.
type Policy struct {
	Name    string
	Match   Match
	Actions []Action // in order of preference

	MinIdle             time.Duration
	Peers               []string // "host:port" globs whose idle ESTABLISHED connections may be shut
	RemotePeerGoneAfter time.Duration
	SoleHolder          SoleHolder
	PerPassFraction     float64 // of the sockets of the process, in (0, 1]
	MaxBatch            int     // the growing batches end here
}

// Default limits of a policy.
const (
	DefaultMinIdle         = 10 * time.Minute
	DefaultPerPassFraction = 0.1
	DefaultMaxBatch        = 64
)

// WithDefaults returns the policy with what was left out filled in.
func (p Policy) WithDefaults() Policy {
	if p.MinIdle == 0 {
		p.MinIdle = DefaultMinIdle
	}
	if p.SoleHolder == "" {
		p.SoleHolder = SoleHolderHost
	}
	if p.PerPassFraction == 0 {
		p.PerPassFraction = DefaultPerPassFraction
	}
	if p.MaxBatch == 0 {
		p.MaxBatch = DefaultMaxBatch
	}
	return p
}

// Validate names every key that is wrong and its value.
func (p *Policy) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if p.Name == "" {
		bad("name: must not be empty: the journal names the policy by it")
	}
	if len(p.Actions) == 0 {
		bad("actions: the policy names no action; known actions are %s", join(Actions()))
	}
	for _, a := range p.Actions {
		if !slices.Contains(Actions(), a) {
			bad("actions: unknown action %q; known actions are %s", a, join(Actions()))
		}
	}
	for _, k := range p.Match.Kinds {
		if !k.Valid() {
			bad("match::kinds: unknown kind %q; known kinds are %s", k, join(leak.Kinds()))
		}
	}
	for _, b := range p.Match.Basis {
		if !b.Valid() {
			bad("match::basis: unknown basis %q", b)
		}
	}
	if p.acts() && len(p.Match.Kinds) > 0 && !slices.Contains(p.Match.Kinds, leak.KindSocket) {
		bad("actions: %s act on sockets, but match::kinds is [%s]", join(p.Actions), join(p.Match.Kinds))
	}
	if p.MinIdle < 0 {
		bad("min_idle: must not be negative, is %s", p.MinIdle)
	}
	if p.RemotePeerGoneAfter < 0 {
		bad("remote_peer_gone_after: must not be negative, is %s", p.RemotePeerGoneAfter)
	}
	for _, peer := range p.Peers {
		if !strings.Contains(peer, ":") || strings.Trim(peer, "*?:") == "" {
			bad("peers: %q must be host:port, with at least one of them named", peer)
		}
	}
	switch p.SoleHolder {
	case "", SoleHolderHost, SoleHolderSameUser:
	default:
		bad("sole_holder: must be %q or %q, is %q", SoleHolderHost, SoleHolderSameUser, p.SoleHolder)
	}
	if p.PerPassFraction < 0 || p.PerPassFraction > 1 {
		bad("limits::per_pass_fraction: must be above 0 and at most 1, is %v", p.PerPassFraction)
	}
	if p.MaxBatch < 0 {
		bad("limits::max_batch: must not be negative, is %d", p.MaxBatch)
	}
	return errors.Join(errs...)
}

func (p *Policy) acts() bool {
	return slices.Contains(p.Actions, ActionSocketDown) || slices.Contains(p.Actions, ActionSocketDestroy)
}

// matches reports whether the policy is for this finding. What the finding
// says of its process is proven later, by guard 6.
func (p *Policy) matches(f *leak.Finding) bool {
	m := &p.Match
	if len(m.Kinds) > 0 && !slices.Contains(m.Kinds, f.Kind) {
		return false
	}
	if len(m.Basis) > 0 && !slices.Contains(m.Basis, f.Basis) {
		return false
	}
	return matchNames(m.Sites, f.Site) && matchNames(m.Owners, f.Process.Owner) &&
		matchNames(m.Cgroups, f.Process.Cgroup) &&
		(len(m.Executables) == 0 || matchExecutable(m.Executables, f.Process.ExecutableName, f.Process.ExecutablePath))
}

func matchNames(patterns []string, name string) bool {
	if len(patterns) == 0 {
		return true
	}
	_, ok := globAny(patterns, name)
	return ok
}

// matchExecutable matches a pattern with a slash against the path and one
// without against the name and the base name of the path.
func matchExecutable(patterns []string, name, exe string) bool {
	for _, pattern := range patterns {
		if strings.Contains(pattern, "/") {
			if exe != "" && glob(pattern, exe) {
				return true
			}
			continue
		}
		if name != "" && glob(pattern, name) || exe != "" && glob(pattern, path.Base(exe)) {
			return true
		}
	}
	return false
}

// allowsPeer reports whether the policy names this remote end.
func (p *Policy) allowsPeer(remote string) bool {
	_, ok := globAny(p.Peers, remote)
	return ok
}

func join[T ~string](values []T) string {
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = string(v)
	}
	return strings.Join(parts, ", ")
}
