// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"

	"github.com/otel-memguard/memguard/internal/remedy"
)

func load(t *testing.T, m map[string]any) (*Config, error) {
	t.Helper()
	cfg := createDefaultConfig().(*Config)
	if err := confmap.NewFromStringMap(m).Unmarshal(cfg); err != nil {
		return cfg, err
	}
	return cfg, cfg.Validate()
}

func TestConfigOfTheExampleIsValid(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, map[string]any{
		"mode": "enforce", "directory": "/var/lib/memguard", "runtime_directory": "/run/memguard", "storage": "file_storage",
		"policies": []any{map[string]any{
			"name": "dead upstreams", "match": map[string]any{"kinds": []any{"socket"}, "executables": []any{"/opt/shop/proxy"}},
			"actions": []any{"socket.shutdown", "notify"}, "min_idle": "10m", "sole_holder": "same_user",
			"limits": map[string]any{"per_pass_fraction": 0.2},
		}},
	})
	require.NoError(t, err)
	s := cfg.settings()
	assert.Equal(t, remedy.ModeEnforce, s.Mode)
	require.Len(t, s.Policies, 1)
	assert.Equal(t, []remedy.Action{remedy.ActionSocketDown, remedy.ActionNotify}, s.Policies[0].Actions)
	assert.Equal(t, 10*time.Minute, s.Policies[0].MinIdle)
	assert.Equal(t, remedy.SoleHolderSameUser, s.Policies[0].SoleHolder)
}

func TestDefaultsAreCareful(t *testing.T) {
	t.Parallel()
	cfg, err := load(t, nil)
	require.NoError(t, err)
	assert.Equal(t, "dry_run", cfg.Mode)
	assert.Empty(t, cfg.Policies)
}

func TestConfigErrorsNameKeyAndValue(t *testing.T) {
	t.Parallel()
	policy := func(more map[string]any) map[string]any {
		p := map[string]any{"name": "p", "actions": []any{"notify"}}
		maps.Copy(p, more)
		return map[string]any{"policies": []any{p}}
	}
	for want, m := range map[string]map[string]any{
		"mode: must be one of [dry_run approve enforce], is \"yolo\"": {"mode": "yolo"},
		"directory: must not be empty":                                {"directory": ""},
		"directory: must be an absolute path, is \"here\"":            {"directory": "here"},
		"runtime_directory: must be an absolute path, is \"run\"":     {"runtime_directory": "run"},
		"watch_interval: must be positive, is -1s":                    {"watch_interval": "-1s"},
		"queue_size: must be positive, is 0":                          {"queue_size": 0},
		"limits::total_per_minute: must be above 0":                   {"limits": map[string]any{"total_per_minute": -1}},
		"limits::cooldown: must not be negative, is -1s":              {"limits": map[string]any{"cooldown": "-1s"}},
		"journal::segment_size: must be at least 65536 bytes, is 1":   {"journal": map[string]any{"segment_size": 1}},
		"protected::ports: must be ports, 1 to 65535, is 70000":       {"protected": map[string]any{"ports": []any{70000}}},
		"policies::0 (\"p\"): actions: the policy names no action":    policy(map[string]any{"actions": []any{}}),
		"known actions are notify, socket.shutdown, socket.destroy":   policy(map[string]any{"actions": []any{"reboot"}}),
		"is protected by \"postgres\", so the policy could never act": policy(map[string]any{"actions": []any{"socket.shutdown"}, "match": map[string]any{"executables": []any{"postgres"}}}),
		"policies::1 (\"p\"): name: is used twice":                    {"policies": []any{policy(nil)["policies"].([]any)[0], policy(nil)["policies"].([]any)[0]}},
		"invalid keys: min_age":                                       policy(map[string]any{"min_age": "1s"}),
	} {
		_, err := load(t, m)
		require.ErrorContains(t, err, want)
	}
	_, err := load(t, map[string]any{"mode": "x", "queue_size": -1})
	require.ErrorContains(t, err, "mode:")
	require.ErrorContains(t, err, "queue_size:", "all errors are shown")
}
