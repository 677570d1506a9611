// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leak

import "context"

// Provenance says that data was read from this host's kernel by a memguard
// receiver of this very process. It travels in the context of ConsumeMetrics,
// under a key that no other package can name, and never on the wire: host and
// boot ids are public, so a client that sends them over OTLP must gain
// nothing (guard 0, docs/decisions/0001).
type Provenance struct {
	HostID   string
	BootID   string
	Receiver string // component id of the receiver
	OwnPIDs  bool   // the pid space of root_path is ours: a pid means the process it names
}

type provenanceKey struct{}

// ContextWithProvenance marks the data that the context accompanies.
func ContextWithProvenance(ctx context.Context, p *Provenance) context.Context {
	return context.WithValue(ctx, provenanceKey{}, p)
}

// ProvenanceFromContext returns the mark, or nil where there is none: data
// from elsewhere, or a component between that does not hand its context on.
func ProvenanceFromContext(ctx context.Context) *Provenance {
	p, _ := ctx.Value(provenanceKey{}).(*Provenance)
	return p
}
