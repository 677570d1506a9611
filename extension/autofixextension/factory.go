// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"go.opentelemetry.io/collector/extension"

	"github.com/otel-memguard/memguard/extension/autofixextension/internal/metadata"
)

// NewFactory returns the factory of auto_fix.
func NewFactory() extension.Factory {
	return extension.NewFactory(metadata.Type, createDefaultConfig, createExtension, metadata.ExtensionStability)
}
