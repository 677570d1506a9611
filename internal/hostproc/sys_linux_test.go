// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package hostproc

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestNextDirent(t *testing.T) {
	t.Parallel()
	entry := func(name string) []byte {
		b := make([]byte, 19, 64)
		b = append(b, name...)
		b = append(b, 0)
		for len(b)%8 != 0 {
			b = append(b, 0)
		}
		binary.NativeEndian.PutUint16(b[16:], uint16(len(b)))
		return b
	}
	b := append(entry("1"), entry("4194304")...)
	name, rest := nextDirent(b)
	assert.Equal(t, "1", string(name))
	name, rest = nextDirent(rest)
	assert.Equal(t, "4194304", string(name))
	name, _ = nextDirent(rest)
	assert.Nil(t, name)
}

func FuzzNextDirent(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		rounds := 0
		for name, rest := nextDirent(b); name != nil; name, rest = nextDirent(rest) {
			if rounds++; rounds > len(b) {
				t.Fatal("does not end")
			}
		}
	})
}
