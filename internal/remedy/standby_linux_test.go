// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAStandbyTakesOver(t *testing.T) {
	set := testSettings(t, ModeEnforce)
	set.Policies[0].SoleHolder = SoleHolderSameUser
	first := newBench(t, set)
	first.note(&Record{Type: TypeIntent, ID: "left open"})
	standbys := []*bench{newBench(t, set), newBench(t, set), newBench(t, set)}
	for _, b := range standbys {
		b.tick(t.Context())
		assert.True(t, b.standby)
		assert.Equal(t, ModeDryRun, b.inForce())
	}
	require.NoError(t, first.closeAll())

	b := standbys[1]
	b.note(&Record{Type: TypeProposed, ID: "of the standby"})
	waiting, err := b.Pending(10)
	require.NoError(t, err)
	require.Len(t, waiting, 1)
	b.tick(t.Context())
	assert.True(t, b.standby, "first its own records must reach the audit")
	require.NoError(t, b.Delivered(waiting[0].Seq))
	b.tick(t.Context())
	require.False(t, b.standby)
	if len(b.env.missing) == 0 {
		assert.Equal(t, ModeEnforce, b.inForce(), b.why)
	}
	unknown := b.records(TypeUnknown)
	require.Len(t, unknown, 1, "the intent that the first left gets its outcome")
	assert.Equal(t, "left open", unknown[0].ID)
	waiting, err = b.Pending(10)
	require.NoError(t, err)
	require.Len(t, waiting, 1, "and that reaches the audit")
	assert.Equal(t, TypeUnknown, waiting[0].Type)

	answers, err := askOnce(t, set.Directory, Request{Command: CommandStatus})
	require.NoError(t, err)
	assert.Equal(t, b.inForce(), answers[0].Status.Mode)
	standbys[0].tick(t.Context())
	assert.True(t, standbys[0].standby, "one only")
}
