// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package remedy

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A segment is the magic followed by frames: length of the payload and
// CRC-32C of the payload, both 32 bit little endian, then the payload, which
// is one Record as JSON.
const (
	segmentMagic  = "MGJRNL1\n"
	magicFamily   = "MGJRNL" // then one byte for the version
	frameHeader   = 8
	maxRecordSize = 1 << 20 // bytes
)

// ErrJournalFormat means that a segment was written by another version.
var ErrJournalFormat = errors.New("journal segment has a format that this version does not read")

// errTorn means that the bytes end in the middle of a frame or are not one:
// what a crash leaves at the end of the newest segment.
var errTorn = errors.New("torn or corrupt journal frame")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFrame(dst []byte, r *Record) ([]byte, error) {
	payload, err := json.Marshal(r)
	if err != nil {
		return dst, fmt.Errorf("encode journal record: %w", err)
	}
	if len(payload) > maxRecordSize {
		return dst, fmt.Errorf("journal record of %d bytes is longer than %d", len(payload), maxRecordSize)
	}
	dst = binary.LittleEndian.AppendUint32(dst, uint32(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, crc32.Checksum(payload, castagnoli))
	return append(dst, payload...), nil
}

// frameReader reads the frames of one segment. It reads bytes that a crash,
// or somebody else, may have left.
type frameReader struct {
	in     *bufio.Reader
	buf    []byte
	offset int64 // of the end of the last good frame
}

func newFrameReader(in io.Reader) (*frameReader, error) {
	f := &frameReader{in: bufio.NewReaderSize(in, 64<<10)}
	var magic [len(segmentMagic)]byte
	if _, err := io.ReadFull(f.in, magic[:]); err != nil {
		return nil, tornIfShort(err)
	}
	switch {
	case string(magic[:]) == segmentMagic:
	case string(magic[:len(magicFamily)]) == magicFamily && magic[len(magic)-1] == '\n':
		return nil, fmt.Errorf("%w: %q, known is %q", ErrJournalFormat, magic, segmentMagic)
	default:
		return nil, errTorn
	}
	f.offset = int64(len(segmentMagic))
	return f, nil
}

// next returns the next record, io.EOF at a clean end and errTorn at any
// other.
func (f *frameReader) next(r *Record) error {
	var header [frameHeader]byte
	if _, err := io.ReadFull(f.in, header[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return tornIfShort(err)
	}
	size := binary.LittleEndian.Uint32(header[:])
	if size == 0 || size > maxRecordSize {
		return errTorn
	}
	if uint32(cap(f.buf)) < size {
		f.buf = make([]byte, size)
	}
	payload := f.buf[:size]
	if _, err := io.ReadFull(f.in, payload); err != nil {
		return tornIfShort(err)
	}
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(header[4:]) {
		return errTorn
	}
	*r = Record{}
	if err := json.Unmarshal(payload, r); err != nil {
		return errTorn
	}
	f.offset += frameHeader + int64(size)
	return nil
}

// tornIfShort tells the end of the bytes from a disk that cannot be read: the
// latter is no reason to cut anything off.
func tornIfShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errTorn
	}
	return fmt.Errorf("read journal segment: %w", err)
}
