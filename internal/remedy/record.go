// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"net/netip"
	"time"

	"github.com/otel-memguard/memguard/internal/leak"
)

// Type says what a journal record records.
type Type string

// The types of records.
const (
	TypeProposed  Type = "proposed"  // an object, or a finding to notify of, was put forward
	TypeRefused   Type = "refused"   // a guard refused it
	TypeWaiting   Type = "waiting"   // every guard passed; a person must approve
	TypeExpired   Type = "expired"   // nobody did
	TypeRehearsed Type = "rehearsed" // dry_run: every guard and proof passed, the act was left out
	TypeIntent    Type = "intent"    // on disk before the act
	TypeWithdrawn Type = "withdrawn" // the intent was not carried out
	TypeApplied   Type = "applied"   // the act was done
	TypeVerified  Type = "verified"  // and did what it should, judged by the object's own state
	TypeFailed    Type = "failed"    // and did not
	TypeRaced     Type = "raced"     // the object changed between the last look and the act
	TypeUnknown   Type = "unknown"   // what became of it cannot be known
	TypeMode      Type = "mode"      // the mode in force, and why
	TypeStopped   Type = "stopped"   // the kill switch was thrown
	TypeStarted   Type = "started"   // the kill switch was released
)

// outcome reports whether the record ends an intent.
func (t Type) outcome() bool {
	switch t {
	case TypeWithdrawn, TypeVerified, TypeFailed, TypeRaced, TypeUnknown:
		return true
	default:
		return false
	}
}

// Record is one decision or outcome. Its JSON form is the payload of a
// journal frame; fields are only ever added.
type Record struct {
	Seq     uint64      `json:"seq"`
	Time    time.Time   `json:"time"`
	Type    Type        `json:"type"`
	ID      string      `json:"id,omitempty"` // of the repair: one object, one action
	Mode    Mode        `json:"mode,omitempty"`
	Policy  string      `json:"policy,omitempty"`
	Action  Action      `json:"action,omitempty"`
	Finding *FindingRef `json:"finding,omitempty"`
	Process *ProcessRef `json:"process,omitempty"`
	Object  *Object     `json:"object,omitempty"`
	Guards  Verdicts    `json:"guards,omitempty"`
	Freed   string      `json:"freed,omitempty"`     // connection, or connection and descriptor
	Before  string      `json:"before,omitempty"`    // TCP state at the last look before the act
	After   string      `json:"after,omitempty"`     // TCP state seen after it
	Window  int64       `json:"window_ns,omitempty"` // from the last look to the end of the act
	More    int         `json:"would_continue,omitempty"`
	Text    string      `json:"text,omitempty"`
}

// FindingRef is what the journal keeps of a finding.
type FindingRef struct {
	ID     string     `json:"id"`
	Kind   leak.Kind  `json:"kind"`
	Site   string     `json:"site,omitempty"`
	Source string     `json:"source,omitempty"`
	Basis  leak.Basis `json:"basis,omitempty"`
	State  leak.State `json:"state"`
	Since  time.Time  `json:"since"`
}

// ProcessRef is what the journal keeps of a process.
type ProcessRef struct {
	HostID         string    `json:"host"`
	BootID         string    `json:"boot"`
	InstanceID     string    `json:"instance"`
	PID            int32     `json:"pid"`
	CreationTime   time.Time `json:"created"`
	ExecutableName string    `json:"exe,omitempty"`
	ExecutablePath string    `json:"path,omitempty"`
	Owner          string    `json:"owner,omitempty"`
}

// Object is one socket of one process: the identity by which it is proven
// and the sight by which it was chosen.
type Object struct {
	FD        int32          `json:"fd"`
	Inode     uint64         `json:"inode"`
	Cookie    uint64         `json:"cookie"`
	Family    uint8          `json:"family"`
	Protocol  uint8          `json:"protocol"`
	Interface uint32         `json:"interface,omitempty"` // index, where the socket is bound to one
	Local     netip.AddrPort `json:"local"`
	Remote    netip.AddrPort `json:"remote"`
	State     string         `json:"state"`
	Watched   float64        `json:"watched_s"` // seconds without a byte under our own eyes
}

func findingRef(f *leak.Finding) *FindingRef {
	return &FindingRef{
		ID: f.ID, Kind: f.Kind, Site: f.Site, Source: f.Source, Basis: f.Basis, State: f.State, Since: f.Since,
	}
}

func processRef(p *leak.Process) *ProcessRef {
	return &ProcessRef{
		HostID: p.HostID, BootID: p.BootID, InstanceID: p.InstanceID, PID: p.PID, CreationTime: p.CreationTime,
		ExecutableName: p.ExecutableName, ExecutablePath: p.ExecutablePath, Owner: p.Owner,
	}
}
