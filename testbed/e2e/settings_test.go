// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// settings is a collector configuration that a test can change by path.
type settings map[string]any

// set sets the value at a path of keys parted by "::".
func (s settings) set(path string, value any) settings {
	keys := strings.Split(path, "::")
	at := map[string]any(s)
	for _, key := range keys[:len(keys)-1] {
		next, ok := at[key].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[key] = next
		}
		at = next
	}
	at[keys[len(keys)-1]] = value
	return s
}

// yaml writes the configuration as JSON, which is YAML too.
func (s settings) yaml(t *testing.T) []byte {
	t.Helper()
	text, err := json.MarshalIndent(s, "", " ")
	require.NoError(t, err)
	return text
}

func list(values ...string) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = v
	}
	return out
}
