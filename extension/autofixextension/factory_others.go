// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package autofixextension

import (
	"context"
	"errors"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension"
)

var errNotLinux = errors.New("auto_fix needs Linux: it acts through pidfd_getfd and sock_diag")

func createExtension(context.Context, extension.Settings, component.Config) (extension.Extension, error) {
	return nil, errNotLinux
}
