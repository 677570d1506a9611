// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap"
	"go.yaml.in/yaml/v3"

	"github.com/otel-memguard/memguard/internal/leak"
)

func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	var raw map[string]any
	require.NoError(t, yaml.Unmarshal([]byte(text), &raw))
	cfg := createDefaultConfig().(*Config)
	if err := confmap.NewFromStringMap(raw).Unmarshal(cfg); err != nil {
		return nil, err
	}
	return cfg, confmap.Validate(cfg)
}

func TestConfigErrorsNameKeyAndValue(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"max_serie: 3":                                          {"max_serie"},
		"max_series: -1":                                        {"max_series", "-1"},
		"max_stale: 1ms":                                        {"max_stale", "1ms"},
		"time_scale: 0":                                         {"time_scale", "0"},
		"min_age: -1m":                                          {"min_age", "-1m0s"},
		"max_fill_time: 1s":                                     {"max_fill_time", "1s"},
		"checkpoint_interval: 0s":                               {"checkpoint_interval", "0s"},
		"budget: {likely: -2}":                                  {"budget::likely", "-2"},
		"budget: {confirmed: .inf}":                             {"budget::confirmed", "+Inf"},
		"survival: {max_idle_life: 1s}":                         {"survival::max_idle_life", "1s"},
		"survival: {floor: 0s}":                                 {"survival::floor", "0s"},
		"survival: {min_closed: 1}":                             {"survival::min_closed", "1"},
		"survival: {min_old: 0}":                                {"survival::min_old", "0"},
		"proof: {threshold: 0}":                                 {"proof::threshold", "0"},
		"proof: {scans: 1}":                                     {"proof::scans", "1"},
		"at_risk: {horizon: 0s}":                                {"at_risk::horizon", "0s"},
		"at_risk: {min_usage: 1}":                               {"at_risk::min_usage", "1"},
		"watch: [{kind: file}]":                                 {"watch[0]::metric", `""`},
		"watch: [{metric: 'a[', kind: file}]":                   {"watch[0]::metric", `"a["`},
		"watch: [{metric: a, kind: fish}]":                      {"watch[0]::kind", `"fish"`},
		"watch: [{metric: a, kind: file, limit_scope: planet}]": {"watch[0]::limit_scope", `"planet"`},
		"max_stale: 1000000h":                                   {"max_stale", "1000000h0m0s", "168h0m0s"},
		"checkpoint_interval: 1000000h":                         {"checkpoint_interval", "1000000h0m0s"},
		"{min_age: 1000000h, time_scale: 0.001}":                {"min_age", "1000000h0m0s", "336h0m0s"},
		"max_fill_time: 1000000h":                               {"max_fill_time", "1000000h0m0s"},
		"survival: {max_idle_life: 1000000h}":                   {"survival::max_idle_life", "1000000h0m0s"},
		"survival: {floor: 1000000h}":                           {"survival::floor", "1000000h0m0s"},
		"proof: {hold: 1000000h}":                               {"proof::hold", "1000000h0m0s"},
		"at_risk: {horizon: 1000000h}":                          {"at_risk::horizon", "1000000h0m0s"},
		"watch: [{metric: a, kind: file, limit_metric: a}]":     {"watch[0]::limit_metric", `"a"`},
		"watch: [{metric: a, kind: file, limit_metric: b*}]":    {"watch[0]::limit_metric", `"b*"`, `"a"`},
		"{max_series: 0, time_scale: -3}":                       {"max_series: 0", "time_scale: -3"},
	} {
		_, err := load(t, text)
		require.Error(t, err, text)
		for _, w := range want {
			assert.ErrorContains(t, err, w, text)
		}
	}
}

// The example of the README is a configuration that loads.
func TestReadmeExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, example, ok := strings.Cut(string(text), "```yaml\n")
	require.True(t, ok)
	example, _, _ = strings.Cut(example, "```")
	var all struct {
		Processors map[string]map[string]any `yaml:"processors"`
	}
	require.NoError(t, yaml.Unmarshal([]byte(example), &all))
	cfg := createDefaultConfig().(*Config)
	require.NoError(t, confmap.NewFromStringMap(all.Processors["leak_detect"]).Unmarshal(cfg))
	require.NoError(t, cfg.Validate())
	w := newWatchList(cfg.Watch)
	assert.Equal(t, leak.KindSocket, w.find("app.connections.open").kind)
	assert.Equal(t, useLimit, w.find("app.connections.max").use)
	assert.Nil(t, w.find("go_memstats_heap_alloc_bytes"))
	assert.NotNil(t, w.find("go_goroutines"))
}

func TestWatchGlob(t *testing.T) {
	t.Parallel()
	w := newWatchList([]WatchConfig{
		{Metric: "app_*_open", Kind: leak.KindSocket, LimitMetric: "app_max"},
		{Metric: leak.MetricThreadCount, Ignore: true},
	})
	for range 2 {
		require.NotNil(t, w.find("app_db_open"))
		assert.Equal(t, "app_db_open", w.find("app_db_open").metric)
		require.NotNil(t, w.find("app_max"), "the limit of a glob")
		assert.Equal(t, useLimit, w.find("app_max").use)
		assert.Nil(t, w.find("app_db_closed"))
		assert.Nil(t, w.find(leak.MetricThreadCount))
	}
}

func FuzzReadIndex(f *testing.F) {
	f.Add([]byte{indexVersion, 0, 0, 0, 0})
	f.Fuzz(func(_ *testing.T, data []byte) {
		_, _ = readIndex(data)
	})
}
