// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-memguard/memguard/internal/detect"
	"github.com/otel-memguard/memguard/internal/leak"
)

// Config is the configuration of leak_detect.
type Config struct {
	// Remediation is the id of an extension that repairs leaks (auto_fix).
	Remediation *component.ID `mapstructure:"remediation"`
	// Storage is the id of a storage extension in which state survives a restart.
	Storage *component.ID `mapstructure:"storage"`
	// Watch adds metrics to the built-in table, or replaces its lines.
	Watch []WatchConfig `mapstructure:"watch"`
	// MaxSeries bounds the series watched.
	MaxSeries int `mapstructure:"max_series"`
	// MaxStale is how long a life may be silent before it is gone.
	MaxStale time.Duration `mapstructure:"max_stale"`
	// TimeScale divides every wait and block length of the statistics.
	TimeScale float64 `mapstructure:"time_scale"`
	// MinAge is the age of a process before which growth is start-up.
	MinAge time.Duration `mapstructure:"min_age"`
	// MaxFillTime is the longest bounded fill that counts as normal.
	MaxFillTime time.Duration `mapstructure:"max_fill_time"`
	// Budget is in false alarms per 1000 series-days.
	Budget   BudgetConfig   `mapstructure:"budget"`
	Survival SurvivalConfig `mapstructure:"survival"`
	Proof    ProofConfig    `mapstructure:"proof"`
	AtRisk   AtRiskConfig   `mapstructure:"at_risk"`
	// EmitSuspected writes findings that are only suspected too.
	EmitSuspected bool `mapstructure:"emit_suspected"`
	// CheckpointInterval is the time between two checkpoints of changed state.
	CheckpointInterval time.Duration `mapstructure:"checkpoint_interval"`
}

// WatchConfig names a metric to judge.
type WatchConfig struct {
	Metric         string    `mapstructure:"metric"` // exact name, or a glob with * and ?
	Kind           leak.Kind `mapstructure:"kind"`
	LimitMetric    string    `mapstructure:"limit_metric"`
	LimitScope     string    `mapstructure:"limit_scope"`
	SiteAttributes []string  `mapstructure:"site_attributes"`
	Ignore         bool      `mapstructure:"ignore"` // do not watch it
}

// BudgetConfig states the false alarms accepted per 1000 series-days.
type BudgetConfig struct {
	Likely    float64 `mapstructure:"likely"`
	Confirmed float64 `mapstructure:"confirmed"`
}

// SurvivalConfig configures the test on ages of objects.
type SurvivalConfig struct {
	MaxIdleLife time.Duration `mapstructure:"max_idle_life"`
	Floor       time.Duration `mapstructure:"floor"`
	MinClosed   uint64        `mapstructure:"min_closed"`
	MinOld      uint64        `mapstructure:"min_old"`
	RequireIdle bool          `mapstructure:"require_idle"`
}

// ProofConfig configures findings by mechanism.
type ProofConfig struct {
	Threshold float64 `mapstructure:"threshold"`
	Scans     int     `mapstructure:"scans"`
	// Hold is how long fewer than Threshold must be there before it is over.
	Hold time.Duration `mapstructure:"hold"`
}

// AtRiskConfig configures time to exhaustion.
type AtRiskConfig struct {
	Horizon  time.Duration `mapstructure:"horizon"`
	MinUsage float64       `mapstructure:"min_usage"`
}

var _ confmap.Validator = (*Config)(nil)

func createDefaultConfig() component.Config {
	d := detect.DefaultConfig()
	return &Config{
		MaxSeries: 200_000, MaxStale: 5 * time.Minute, CheckpointInterval: 30 * time.Second,
		TimeScale: d.TimeScale, MinAge: d.MinAge, MaxFillTime: d.MaxFillTime,
		Budget:   BudgetConfig{Likely: d.BudgetLikely, Confirmed: d.BudgetConfirmed},
		Survival: SurvivalConfig(d.Survival), Proof: ProofConfig(d.Proof), AtRisk: AtRiskConfig(d.AtRisk),
	}
}

func (c *Config) engine() detect.Config {
	return detect.Config{
		TimeScale: c.TimeScale, MinAge: c.MinAge, MaxFillTime: c.MaxFillTime,
		BudgetLikely: c.Budget.Likely, BudgetConfirmed: c.Budget.Confirmed,
		Survival: detect.Survival(c.Survival), Proof: detect.Proof(c.Proof), AtRisk: detect.AtRisk(c.AtRisk),
	}
}

// maxStale bounds waits by our own clock.
const maxStale = 7 * 24 * time.Hour

// Validate reports every key whose value cannot be used.
func (c *Config) Validate() error {
	engine := c.engine()
	errs := []error{engine.Validate()}
	if c.MaxSeries < 1 {
		errs = append(errs, fmt.Errorf("max_series: %d must be 1 or more", c.MaxSeries))
	}
	if c.MaxStale < time.Second || c.MaxStale > maxStale {
		errs = append(errs, fmt.Errorf("max_stale: %v must be between 1s and %v", c.MaxStale, maxStale))
	}
	if c.CheckpointInterval < time.Second || c.CheckpointInterval > maxStale {
		errs = append(errs, fmt.Errorf("checkpoint_interval: %v must be between 1s and %v", c.CheckpointInterval, maxStale))
	}
	for i := range c.Watch {
		errs = append(errs, c.Watch[i].validate(i))
	}
	return errors.Join(errs...)
}

func (w *WatchConfig) validate(i int) error {
	if w.Metric == "" {
		return fmt.Errorf("watch[%d]::metric: %q must name a metric", i, w.Metric)
	}
	if _, err := path.Match(w.Metric, ""); err != nil {
		return fmt.Errorf("watch[%d]::metric: %q is not a glob: %w", i, w.Metric, err)
	}
	if w.Ignore {
		return nil
	}
	if !w.Kind.Valid() {
		return fmt.Errorf("watch[%d]::kind: %q (of metric %q) must be one of %v", i, w.Kind, w.Metric, leak.Kinds())
	}
	if w.LimitMetric == w.Metric {
		return fmt.Errorf("watch[%d]::limit_metric: %q must be another metric than metric %q", i, w.LimitMetric, w.Metric)
	}
	if strings.ContainsAny(w.LimitMetric, "*?[") {
		return fmt.Errorf("watch[%d]::limit_metric: %q (of metric %q) must be one name, not a glob", i, w.LimitMetric, w.Metric)
	}
	switch w.LimitScope {
	case "", "process", "user", "cgroup", "host":
		return nil
	}
	return fmt.Errorf("watch[%d]::limit_scope: %q (of metric %q) must be process, user, cgroup or host", i, w.LimitScope, w.Metric)
}
