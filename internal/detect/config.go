// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Config holds what a user may choose. Durations are those at TimeScale 1.
type Config struct {
	// TimeScale divides every wait and block length. A finding made with
	// another scale than 1 says so.
	TimeScale float64
	// MinAge is the age of a process before which its growth is start-up.
	MinAge time.Duration
	// MaxFillTime is the longest bounded fill that counts as normal.
	MaxFillTime time.Duration
	// BudgetLikely and BudgetConfirmed are false alarms per 1000 series-days
	// under the null hypothesis of the grade.
	BudgetLikely, BudgetConfirmed float64
	Survival                      Survival
	Proof                         Proof
	AtRisk                        AtRisk
}

// Survival configures the test on ages of objects.
type Survival struct {
	// MaxIdleLife is the mean further life, past the age at which nearly all
	// objects of a site are closed, that counts as normal: 1/h of the null.
	MaxIdleLife time.Duration
	// Floor is the least age at which an object can count as old. It has to
	// exceed the idle timeouts by which idle objects are normally closed.
	Floor time.Duration
	// MinClosed is how many objects a site must have closed to be judged.
	MinClosed uint64
	// MinOld is how many old objects must be alive.
	MinOld uint64
	// RequireIdle keeps a finding at likely until most old objects are known
	// to be idle or, where that is never known, for MaxFillTime.
	RequireIdle bool
}

// Proof configures findings by mechanism.
type Proof struct {
	Threshold float64 // objects proven leaked
	Scans     int     // consecutive scans in which they are there
	// Hold is how long fewer than Threshold must be there before it is over.
	Hold time.Duration
}

// AtRisk configures time to exhaustion.
type AtRisk struct {
	Horizon  time.Duration // raised when a limit is nearer than this
	MinUsage float64       // fraction of the limit in use before anything is said
}

// DefaultConfig returns the defaults.
func DefaultConfig() Config {
	return Config{
		TimeScale: 1, MinAge: 10 * time.Minute, MaxFillTime: 12 * time.Hour,
		BudgetLikely: 10, BudgetConfirmed: 1,
		Survival: Survival{MaxIdleLife: time.Hour, Floor: 2 * time.Minute, MinClosed: 100, MinOld: 20, RequireIdle: true},
		Proof:    Proof{Threshold: 3, Scans: 3, Hold: 30 * time.Minute},
		AtRisk:   AtRisk{Horizon: time.Hour, MinUsage: 0.2},
	}
}

// maxWait is the longest wait. At the smallest time scale it still fits in the
// nanoseconds of an int64, some times over.
const maxWait = 14 * 24 * time.Hour

// Validate reports every key whose value cannot be used.
func (c *Config) Validate() error {
	var errs []error
	bad := func(ok bool, key string, value any, want string) {
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %v must be %s", key, value, want))
		}
	}
	between := func(d, least, most time.Duration, key string) {
		bad(d >= least && d <= most, key, d, fmt.Sprintf("between %v and %v", least, most))
	}
	positive := func(v float64) bool { return v > 0 && !math.IsInf(v, 0) }
	bad(c.TimeScale >= 1e-3 && c.TimeScale <= 1e5, "time_scale", c.TimeScale, "between 0.001 and 100000")
	between(c.MinAge, 0, maxWait, "min_age")
	between(c.MaxFillTime, 10*time.Minute, maxWait, "max_fill_time")
	bad(positive(c.BudgetLikely) && c.BudgetLikely <= 1000, "budget::likely", c.BudgetLikely, "more than 0 and at most 1000")
	bad(positive(c.BudgetConfirmed) && c.BudgetConfirmed <= 1000, "budget::confirmed", c.BudgetConfirmed, "more than 0 and at most 1000")
	between(c.Survival.MaxIdleLife, time.Minute, maxWait, "survival::max_idle_life")
	between(c.Survival.Floor, time.Second, maxWait, "survival::floor")
	bad(c.Survival.MinClosed >= 20, "survival::min_closed", c.Survival.MinClosed, "20 or more")
	bad(c.Survival.MinOld >= 3, "survival::min_old", c.Survival.MinOld, "3 or more")
	bad(c.Proof.Threshold >= 1 && !math.IsInf(c.Proof.Threshold, 0), "proof::threshold", c.Proof.Threshold, "1 or more")
	bad(c.Proof.Scans >= 2 && c.Proof.Scans <= 1000, "proof::scans", c.Proof.Scans, "between 2 and 1000")
	between(c.Proof.Hold, 0, maxWait, "proof::hold")
	between(c.AtRisk.Horizon, time.Second, maxWait, "at_risk::horizon")
	bad(c.AtRisk.MinUsage >= 0 && c.AtRisk.MinUsage < 1, "at_risk::min_usage", c.AtRisk.MinUsage, "at least 0 and less than 1")
	return errors.Join(errs...)
}
