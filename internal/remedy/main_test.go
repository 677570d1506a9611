// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// helpers are what the test binary does when it is started as another process.
var helpers = map[string]func(){}

func TestMain(m *testing.M) {
	if helper := helpers[os.Getenv("REMEDY_TEST_HELPER")]; helper != nil {
		helper()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}
