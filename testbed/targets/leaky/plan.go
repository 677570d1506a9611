// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxRate bounds a rate: the tick of a schedule is never shorter than 0.1 ms.
const maxRate = 10_000

// rate is so many operations per second, at most limit of them in all
// (0: no limit).
type rate struct {
	perSecond float64
	limit     int
}

func (r rate) interval() time.Duration { return time.Duration(float64(time.Second) / r.perSecond) }

// plan maps the name of a kind to its rate. It is a pflag.Value, written as
// kind=RATE/s, kind=RATE/m or kind=RATE/s:LIMIT, several parted by commas.
type plan map[string]rate

func (p plan) Type() string { return "plan" }

func (p plan) String() string {
	parts := make([]string, 0, len(p))
	for _, name := range slices.Sorted(maps.Keys(p)) {
		part := name + "=" + strconv.FormatFloat(p[name].perSecond, 'g', -1, 64) + "/s"
		if limit := p[name].limit; limit > 0 {
			part += ":" + strconv.Itoa(limit)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

func (p plan) Set(text string) error {
	var errs []error
	for part := range strings.SplitSeq(text, ",") {
		name, r, err := parsePart(strings.TrimSpace(part))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p[name] = r
	}
	return errors.Join(errs...)
}

func parsePart(part string) (string, rate, error) {
	name, text, found := strings.Cut(part, "=")
	if !found || !slices.Contains(kindNames, name) {
		return "", rate{}, fmt.Errorf("%q: want kind=RATE/s with kind one of %s", part, strings.Join(kindNames, ", "))
	}
	text, limitText, limited := strings.Cut(text, ":")
	var r rate
	if limited {
		limit, err := strconv.Atoi(limitText)
		if err != nil || limit <= 0 {
			return "", rate{}, fmt.Errorf("%q: the limit %q is not a positive number", part, limitText)
		}
		r.limit = limit
	}
	number, unit, found := strings.Cut(text, "/")
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || !found || (unit != "s" && unit != "m") {
		return "", rate{}, fmt.Errorf("%q: the rate %q is not NUMBER/s or NUMBER/m", part, text)
	}
	if unit == "m" {
		value /= 60
	}
	if !(value > 0 && value <= maxRate) {
		return "", rate{}, fmt.Errorf("%q: the rate %q is not above 0 and at most %d/s", part, text, maxRate)
	}
	r.perSecond = value
	return name, r, nil
}
