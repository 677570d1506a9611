// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakeventconnector

import (
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
)

// Config is the configuration of leak_event.
type Config struct {
	// MaxAge is how long after a transition its event is still emitted, at
	// each batch that shows the finding. 0 emits exactly at the transition; a
	// few intervals bridge a hop that may lose a batch, and receivers then
	// drop repetitions by memguard.event.id.
	MaxAge time.Duration `mapstructure:"max_age"`
	// EventNameAttribute, where set, repeats the event name in an attribute,
	// for exporters that drop EventName. The conventions' name for it is
	// otel.event.name.
	EventNameAttribute string `mapstructure:"event_name_attribute"`
	// Suspected emits memguard.leak.suspected too.
	Suspected bool `mapstructure:"suspected"`
	// Corroborating emits events of findings that only move with the primary
	// one of their incident.
	Corroborating bool `mapstructure:"corroborating"`
}

var _ confmap.Validator = (*Config)(nil)

func createDefaultConfig() component.Config { return &Config{} }

// Validate checks the configuration.
func (c *Config) Validate() error {
	if c.MaxAge < 0 {
		return fmt.Errorf("`max_age` must not be negative, got %v", c.MaxAge)
	}
	return nil
}
