// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/otel-memguard/memguard/internal/leak"
)

// job is what a collector that is to be killed is told.
type job struct {
	Directory  string
	SoleHolder SoleHolder
	Process    leak.Process
	Provenance *leak.Provenance
	ID, Site   string
	Stage      string // where it kills itself, in the batch of two
}

func (j *job) settings() Settings {
	policy := Policy{
		Name: "test", Match: Match{Executables: []string{"remedy.test"}}, Actions: []Action{ActionSocketDown},
		MinIdle: testIdle, PerPassFraction: 1, SoleHolder: j.SoleHolder,
	}
	return Settings{
		Mode: ModeEnforce, Directory: j.Directory, Policies: []Policy{policy},
		Limits: Limits{ProcessPerMinute: 1e6, ExecutablePerMinute: 1e6, TotalPerMinute: 1e6},
	}
}

func (j *job) finding() leak.Finding {
	f := leak.NewFinding()
	f.ID, f.Kind, f.Site, f.Basis, f.State = j.ID, leak.KindSocket, j.Site, leak.BasisProof, leak.StateConfirmed
	f.Interval, f.Process, f.Provenance = 10*time.Second, j.Process, j.Provenance
	return f
}

func init() { helpers["collector"] = collectorMain }

// collectorMain is an engine that dies by SIGKILL in the middle of a batch.
func collectorMain() {
	var j job
	if json.Unmarshal([]byte(os.Getenv("REMEDY_TEST_JOB")), &j) != nil {
		os.Exit(3)
	}
	e, err := NewEngine(j.settings())
	if err != nil || e.open() != nil {
		os.Exit(4)
	}
	e.SetReady(true)
	seen := 0
	e.hook = func(stage string) {
		if stage == j.Stage {
			seen++
		}
		if seen == 2 { // the canary was the first
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
	f := j.finding()
	for range 10 {
		f.Time = time.Now()
		e.Propose(f)
		e.tick(context.Background())
		time.Sleep(testIdle + 10*time.Millisecond)
	}
	os.Exit(5)
}

func TestKilledInMidBatch(t *testing.T) {
	needSight(t)
	cases := map[string]struct {
		stage     string
		open      int // intents without an outcome that the dead left
		withdrawn int // of them, those the next start sees not done
		verified  int // and those it sees done
		left      int // sockets still leaked
	}{
		"between the intents and the acts":  {stage: "intents", open: 2, withdrawn: 2, left: 4},
		"after the first act":               {stage: "acted", open: 2, withdrawn: 1, left: 3},
		"after the first act was journaled": {stage: "applied", open: 2, withdrawn: 1, verified: 1, left: 3},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			v, u := startVictim(t), startUpstream(t)
			v.leak(u, 5)
			f := v.finding(u)
			set := testSettings(t, ModeEnforce)
			runCollector(t, job{
				Directory: set.Directory, SoleHolder: set.Policies[0].SoleHolder, Process: f.Process,
				Provenance: f.Provenance, ID: f.ID, Site: f.Site, Stage: c.stage,
			})
			assert.Equal(t, c.left, u.countStates(t, "08"))

			b := newBench(t, set)
			outcomes := len(b.records(TypeWithdrawn, TypeUnknown, TypeVerified))
			assert.Equal(t, 1+c.open, outcomes, "the canary's, and one for each intent left open")
			assert.Len(t, b.records(TypeWithdrawn), c.withdrawn)
			assert.Len(t, b.records(TypeVerified), 1+c.verified)
			assert.Len(t, b.records(TypeUnknown), c.open-c.withdrawn-c.verified, "not ours to claim")
			intents, _ := b.journal.OpenIntents()
			assert.Empty(t, intents)

			for range 6 {
				b.round(f)
			}
			assert.Zero(t, u.countStates(t, "08"), "the next run finishes")
			acts := map[uint64]int{}
			for _, r := range b.records(TypeApplied) {
				acts[r.Object.Cookie]++
			}
			for cookie, n := range acts {
				assert.Equal(t, 1, n, "socket %d was acted on twice", cookie)
			}
		})
	}
}

func runCollector(t *testing.T, j job) {
	t.Helper()
	text, err := json.Marshal(j)
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = append(os.Environ(), "REMEDY_TEST_HELPER=collector", "REMEDY_TEST_JOB="+string(text))
	cmd.Stderr = os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, -1, exit.ExitCode(), "it was to be killed: %s", exit)
}
