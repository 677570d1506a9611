// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"testing"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"

	"github.com/otel-memguard/memguard/internal/leak"
)

func fileStorage(t *testing.T, dir string) extension.Extension {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	cfg.Directory = dir
	ext, err := factory.Create(t.Context(), extensiontest.NewNopSettings(component.MustNewType("file_storage")), cfg)
	require.NoError(t, err)
	require.NoError(t, ext.Start(t.Context(), fakeHost{}))
	return ext
}

// The real storage extension, over an orderly restart.
func TestFileStorage(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var id string
	for round, want := range [][]leak.State{{leak.StateConfirmed}, nil} {
		ext := fileStorage(t, dir)
		r := newRig(t, fakeHost{storageID: ext}, func(c *Config) { c.Storage = &storageID })
		for i := range 4 {
			r.consume(abandoned(4*round+i, 5).md)
		}
		all := r.findings()
		require.NotEmpty(t, all)
		assert.Equal(t, want, transitions(all))
		if round == 0 {
			id = all[0].ID
		}
		assert.Equal(t, id, all[0].ID)
		r.stop()
		require.NoError(t, ext.Shutdown(t.Context()))
	}
}
