// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package memguardreceiver

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// MatchType says how names are compared.
type MatchType string

// The ways to compare.
const (
	MatchTypeStrict MatchType = "strict" // the whole name
	MatchTypeGlob   MatchType = "glob"   // * for any characters, ? for one
	MatchTypeRegexp MatchType = "regexp" // RE2, anywhere in the name
)

// MatchConfig describes processes. A criterion without names is no criterion.
type MatchConfig struct {
	// Executable is compared with the base name of the program, patterns with a
	// slash with its path.
	Executable NameMatchConfig `mapstructure:"executable"`
	// Owner is compared with the name, or else number, of the effective user.
	Owner NameMatchConfig `mapstructure:"owner"`
	// Cgroup is compared with the path of the cgroup.
	Cgroup NameMatchConfig `mapstructure:"cgroup"`
}

// NameMatchConfig is one criterion: any of the names fits.
type NameMatchConfig struct {
	Names     []string  `mapstructure:"names"`
	MatchType MatchType `mapstructure:"match_type"`
}

// matcher is a compiled MatchConfig; nil functions are no criterion.
type matcher struct {
	executable, owner, cgroup []namePattern
}

type namePattern struct {
	fits func(string) bool
	path bool // compare the path, not the base name
}

func (c *MatchConfig) compile(key string) (*matcher, error) {
	var m matcher
	var errs []error
	for _, part := range []struct {
		name   string
		config *NameMatchConfig
		into   *[]namePattern
	}{
		{"executable", &c.Executable, &m.executable},
		{"owner", &c.Owner, &m.owner},
		{"cgroup", &c.Cgroup, &m.cgroup},
	} {
		patterns, err := part.config.compile(key + "::" + part.name)
		*part.into = patterns
		errs = append(errs, err)
	}
	return &m, errors.Join(errs...)
}

func (c *NameMatchConfig) compile(key string) ([]namePattern, error) {
	if !slices.Contains([]MatchType{"", MatchTypeStrict, MatchTypeGlob, MatchTypeRegexp}, c.MatchType) {
		return nil, fmt.Errorf("%s::match_type: %q is not one of strict, glob, regexp", key, c.MatchType)
	}
	if len(c.Names) == 0 && c.MatchType != "" {
		return nil, fmt.Errorf("%s::names: is empty beside match_type %q", key, c.MatchType)
	}
	var patterns []namePattern
	var errs []error
	for i, name := range c.Names {
		if name == "" {
			errs = append(errs, fmt.Errorf("%s::names::%d: %q is empty", key, i, name))
			continue
		}
		fits, err := c.fits(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s::names::%d: %q: %w", key, i, name, err))
			continue
		}
		patterns = append(patterns, namePattern{fits: fits, path: strings.Contains(name, "/")})
	}
	return patterns, errors.Join(errs...)
}

func (c *NameMatchConfig) fits(name string) (func(string) bool, error) {
	var expression string
	switch c.MatchType {
	case MatchTypeGlob:
		expression = regexp.QuoteMeta(name)
		expression = strings.ReplaceAll(expression, `\*`, `(?s:.*)`)
		expression = "^" + strings.ReplaceAll(expression, `\?`, `(?s:.)`) + "$"
	case MatchTypeRegexp:
		expression = name
	default:
		return func(s string) bool { return s == name }, nil
	}
	re, err := regexp.Compile(expression)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	return re.MatchString, nil
}

func (m *matcher) empty() bool {
	return len(m.executable)+len(m.owner)+len(m.cgroup) == 0
}

// all reports whether every criterion fits; without any, it does.
func (m *matcher) all(name, path, owner, cgroup string) bool {
	return (len(m.executable) == 0 || fitsProgram(m.executable, name, path)) &&
		(len(m.owner) == 0 || fitsAny(m.owner, owner)) &&
		(len(m.cgroup) == 0 || fitsAny(m.cgroup, cgroup))
}

// any reports whether at least one criterion fits; without any, none does.
func (m *matcher) any(name, path, owner, cgroup string) bool {
	return fitsProgram(m.executable, name, path) || fitsAny(m.owner, owner) || fitsAny(m.cgroup, cgroup)
}

func fitsProgram(patterns []namePattern, name, path string) bool {
	return slices.ContainsFunc(patterns, func(p namePattern) bool {
		if p.path {
			return p.fits(path)
		}
		return p.fits(name)
	})
}

func fitsAny(patterns []namePattern, s string) bool {
	return slices.ContainsFunc(patterns, func(p namePattern) bool { return p.fits(s) })
}
