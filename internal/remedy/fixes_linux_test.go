// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVerifyFindsASocketBoundToAnInterface(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	if answer := v.try(order{Do: "bound", Port: u.port()}); answer.Error != "" {
		t.Skip("SO_BINDTODEVICE: ", answer.Error)
	}
	require.NoError(t, (<-u.conns).Close())
	v.awaitStates(u, "08", 1)
	b := newBench(t, testSettings(t, ModeDryRun))
	f := v.finding(u)
	b.round(f)
	require.Len(t, b.watches.objects, 1)
	for _, w := range b.watches.objects {
		r := b.about(TypeIntent, b.targets[f.ID], w)
		assert.NotZero(t, r.Object.Interface)
		for _, known := range []uint32{r.Object.Interface, 0} { // 0: a record of an older version
			r.Object.Interface = known
			assert.Equal(t, TypeFailed, b.host.verify(b.diag, &f.Process, r.Object, w.last.state).typ, "nothing was done")
			assert.Equal(t, TypeWithdrawn, b.lookBack(r, false).typ)
			assert.Equal(t, TypeFailed, b.lookBack(r, true).typ)
		}
	}
}

func TestVerifyAfterARepairOfABoundSocket(t *testing.T) {
	needSight(t)
	v, u := startVictim(t), startUpstream(t)
	if answer := v.try(order{Do: "bound", Port: u.port()}); answer.Error != "" {
		t.Skip("SO_BINDTODEVICE: ", answer.Error)
	}
	require.NoError(t, (<-u.conns).Close())
	v.awaitStates(u, "08", 1)
	b := newBench(t, testSettings(t, ModeEnforce))
	for range 3 {
		b.round(v.finding(u))
	}
	verified := b.records(TypeVerified)
	require.Len(t, verified, 1)
	assert.Equal(t, "connection", verified[0].Freed)
	assert.Zero(t, u.countStates(t, "08"))
}

func TestOnlyActsOfThisBootAreRemembered(t *testing.T) {
	t.Parallel()
	e, err := NewEngine(Settings{Directory: t.TempDir()})
	require.NoError(t, err)
	e.host.bootID = "this"
	of := func(boot string, cookie uint64, typ Type) *Record {
		return &Record{Type: typ, Process: &ProcessRef{BootID: boot}, Object: &Object{Cookie: cookie}}
	}
	for i := range uint64(maxDone + 10) {
		e.remember(of("another", i+1, TypeIntent))
	}
	assert.Empty(t, e.done)
	e.remember(of("this", 7, TypeIntent))
	assert.True(t, e.done[doneKey{"this", 7}])
	assert.False(t, e.memoryFull())
	e.remember(of("this", 7, TypeWithdrawn))
	assert.Empty(t, e.done)

	for i := range uint64(maxDone + 1) {
		e.remember(of("this", i+1, TypeIntent))
	}
	assert.Len(t, e.done, maxDone)
	e.remember(of("this", 1, TypeWithdrawn))
	assert.True(t, e.memoryFull(), "one was not remembered: room does not bring it back")
	var v Verdicts
	w := &watched{key: objectKey{cookie: maxDone + 1}}
	tg := &target{}
	tg.finding.Process.BootID = "this"
	e.guardOnce(&v, tg, w)
	assert.True(t, v.RefusedBy(GuardAlreadyActed), "refused rather than forgotten")
}

func TestClassifiedSockets(t *testing.T) {
	t.Parallel()
	const head = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t40\t1\n"
	for name, c := range map[string]struct {
		table, groups string
		want          bool
	}{
		"unified only":          {head + "net_cls\t0\t40\t1\nnet_prio\t0\t40\t1\n", "0::/user.slice\n", false},
		"the root alone":        {head + "net_cls\t10\t1\t1\nnet_prio\t0\t1\t1\n", "10:net_cls:/\n", false},
		"groups of net_cls":     {head + "net_cls\t10\t2\t1\n", "10:net_cls:/\n", true},
		"groups of net_prio":    {head + "net_prio\t4\t3\t1\n", "", true},
		"no table, member":      {"", "4:net_cls,net_prio:/\n0::/\n", true},
		"no table, no member":   {"", "4:cpu:/net_cls\n1:name=net_cls:/\n0::/\n", false},
		"no cgroups whatsoever": {"", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proc := t.TempDir()
			require.NoError(t, os.Mkdir(filepath.Join(proc, "self"), 0o700))
			for file, text := range map[string]string{"cgroups": c.table, "self/cgroup": c.groups} {
				if text != "" {
					require.NoError(t, os.WriteFile(filepath.Join(proc, file), []byte(text), 0o600))
				}
			}
			assert.Equal(t, c.want, classified(proc))
		})
	}
}

func TestClassesThatCannotBeReadCountAsSuch(t *testing.T) {
	t.Parallel()
	proc := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(proc, "cgroups"), 0o700))
	assert.True(t, classified(proc))
}
