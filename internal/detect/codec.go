// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Version of the persisted form. Another version is not read.
const Version = 3

// The errors of Decode.
var (
	ErrVersion = errors.New("state of another version")
	ErrCorrupt = errors.New("corrupt state")
)

// codec writes or reads one value after the other: one description of the
// form serves both ways.
type codec struct {
	buf    []byte
	pos    int
	read   bool
	failed bool
}

func (c *codec) take(n int) []byte {
	if c.failed || n < 0 || c.pos+n > len(c.buf) {
		c.failed = true
		return nil
	}
	c.pos += n
	return c.buf[c.pos-n : c.pos]
}

func (c *codec) u64(v *uint64) {
	if !c.read {
		c.buf = binary.LittleEndian.AppendUint64(c.buf, *v)
	} else if b := c.take(8); b != nil {
		*v = binary.LittleEndian.Uint64(b)
	}
}

func (c *codec) u32(v *uint32) {
	if !c.read {
		c.buf = binary.LittleEndian.AppendUint32(c.buf, *v)
	} else if b := c.take(4); b != nil {
		*v = binary.LittleEndian.Uint32(b)
	}
}

func (c *codec) u8(v *uint8) {
	if !c.read {
		c.buf = append(c.buf, *v)
	} else if b := c.take(1); b != nil {
		*v = b[0]
	}
}

func (c *codec) u16(v *uint16) {
	wide := uint32(*v)
	c.u32(&wide)
	*v = uint16(wide)
}

func (c *codec) i64(v *int64) {
	u := uint64(*v)
	c.u64(&u)
	*v = int64(u)
}

func (c *codec) int(v *int) {
	wide := int64(*v)
	c.i64(&wide)
	*v = int(wide)
}

func (c *codec) f64(v *float64) {
	u := math.Float64bits(*v)
	c.u64(&u)
	*v = math.Float64frombits(u)
}

func (c *codec) f32(v ...*float32) {
	for _, p := range v {
		u := math.Float32bits(*p)
		c.u32(&u)
		*p = math.Float32frombits(u)
	}
}

func (c *codec) floats(v []float32) {
	for i := range v {
		c.f32(&v[i])
	}
}

func (c *codec) doubles(v []float64) {
	for i := range v {
		c.f64(&v[i])
	}
}

func (c *codec) flag(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	c.u8(&b)
	*v = b != 0
}

func (c *codec) str(v *string) {
	n := uint32(len(*v))
	c.u32(&n)
	if !c.read {
		c.buf = append(c.buf, *v...)
	} else if b := c.take(int(n)); b != nil {
		*v = string(b)
	}
}

func text[T ~string](c *codec, v *T) {
	s := string(*v)
	c.str(&s)
	*v = T(s)
}

// length reads or writes the length of a list, which may not exceed most.
func (c *codec) length(n, most int) int {
	c.int(&n)
	if n < 0 || n > most {
		c.failed = true
	}
	if c.failed {
		return 0
	}
	return n
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode appends the state of a life to dst, with version and checksum.
func (e *Engine) Encode(dst []byte, l *Life) []byte {
	c := codec{buf: append(dst, Version)}
	c.life(e, l)
	return binary.LittleEndian.AppendUint32(c.buf, crc32.Checksum(c.buf[len(dst):], castagnoli))
}

// Decode reads what Encode wrote. State that was made with other time scale
// or fill time is an error too: its blocks have another length.
func (e *Engine) Decode(data []byte) (*Life, error) {
	if len(data) < 5 {
		return nil, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(data))
	}
	if data[0] != Version {
		return nil, fmt.Errorf("%w: %d, want %d", ErrVersion, data[0], Version)
	}
	body := data[:len(data)-4]
	if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(data[len(body):]) {
		return nil, fmt.Errorf("%w: checksum", ErrCorrupt)
	}
	c := codec{buf: body, pos: 1, read: true}
	l := &Life{}
	c.life(e, l)
	if c.failed || c.pos != len(body) {
		return nil, fmt.Errorf("%w: at byte %d of %d", ErrCorrupt, c.pos, len(body))
	}
	for _, g := range l.groups {
		e.series += len(g.series)
	}
	return l, nil
}
