// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

func sum(value int64, key, attr string) []metricdata.DataPoint[int64] {
	return []metricdata.DataPoint[int64]{{Value: value, Attributes: attribute.NewSet(attribute.String(key, attr))}}
}
