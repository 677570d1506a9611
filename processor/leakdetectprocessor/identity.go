// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"crypto/sha256"
	"encoding/hex"
	"hash/maphash"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/otel-memguard/memguard/internal/leak"
)

const (
	// maxPointAttributes bounds what identifies a series.
	maxPointAttributes = 32
	// maxResourceAttributes bounds what identifies a life.
	maxResourceAttributes = 128
	// maxValueBytes bounds one attribute value that takes part in identity.
	maxValueBytes = 4096
)

// hasher makes identities that hold for this run of the collector. Its seed
// is random, so that nobody can choose attributes that collide.
type hasher struct{ seed maphash.Seed }

func (h hasher) name(name string) uint64 { return maphash.String(h.seed, name) }

// attributes hashes a map whatever its order. It costs no allocation.
func (h hasher) attributes(m pcommon.Map) uint64 {
	var sum uint64
	for k, v := range m.All() {
		key := maphash.String(h.seed, k)
		sum += mix(key, h.value(v))
	}
	return mix(sum, uint64(m.Len()))
}

func (h hasher) value(v pcommon.Value) uint64 {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return maphash.String(h.seed, v.Str())
	case pcommon.ValueTypeInt:
		return mix(uint64(v.Int()), 1)
	case pcommon.ValueTypeBool:
		if v.Bool() {
			return 3
		}
		return 5
	case pcommon.ValueTypeDouble:
		return maphash.Comparable(h.seed, v.Double())
	default: // rare: maps, slices, bytes
		return maphash.String(h.seed, v.AsString())
	}
}

// mix is an avalanche of two words (the finalizer of splitmix64).
func mix(a, b uint64) uint64 {
	x := a ^ b*0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// stableID identifies attributes over restarts.
func stableID(prefix string, m pcommon.Map) string {
	lines := make([]string, 0, m.Len())
	for k, v := range m.All() {
		lines = append(lines, k+"\x00"+v.Type().String()+"\x00"+v.AsString())
	}
	slices.Sort(lines)
	sum := sha256.Sum256([]byte(prefix + "\x00" + strings.Join(lines, "\x01")))
	return hex.EncodeToString(sum[:16])
}

// oversized reports attributes too many or too long to identify anything.
func oversized(m pcommon.Map, most int) bool {
	if m.Len() > most {
		return true
	}
	for _, v := range m.All() {
		if v.Type() == pcommon.ValueTypeStr && len(v.Str()) > maxValueBytes {
			return true
		}
	}
	return false
}

// lifeKey names the life that a resource describes: the process instance
// where it identifies one, else all of its attributes.
func lifeKey(resource pcommon.Map) (key string, process leak.Process) {
	process, complete := leak.ProcessFromResource(resource)
	if complete {
		return process.InstanceID, process
	}
	return stableID("resource", resource), process
}

// siteOf reads the site of a point.
func siteOf(r *rule, attrs pcommon.Map) string {
	if len(r.sites) == 0 {
		return ""
	}
	if len(r.sites) == 1 {
		return text(attrs, r.sites[0])
	}
	var parts []string
	for _, key := range r.sites {
		if s := text(attrs, key); s != "" {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, " ")
}

func kindOf(r *rule, attrs pcommon.Map) leak.Kind {
	if r.kind != "" {
		return r.kind
	}
	kind := leak.Kind(text(attrs, leak.AttrObjectKind))
	if !kind.Valid() {
		return leak.KindDescriptor
	}
	return kind
}

func text(attrs pcommon.Map, key string) string {
	v, ok := attrs.Get(key)
	if !ok {
		return ""
	}
	return v.AsString()
}
