// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package leakdetectprocessor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/otel-memguard/memguard/internal/detect"
)

const (
	indexKey = "index"
	// saveTimeout bounds how long a transition may hold its batch up.
	saveTimeout = 2 * time.Second
	// encodeAtOnce is how many lives a checkpoint encodes under the lock.
	encodeAtOnce = 32
	// indexVersion is that of the index alone; records carry detect.Version.
	indexVersion = 1
)

func (s *state) openStorage(ctx context.Context, host component.Host) error {
	if s.cfg.Storage == nil {
		return nil
	}
	ext, ok := host.GetExtensions()[*s.cfg.Storage]
	if !ok {
		return fmt.Errorf("storage: extension %q is not in service::extensions", s.cfg.Storage)
	}
	store, ok := ext.(storage.Extension)
	if !ok {
		return fmt.Errorf("storage: extension %q is not a storage extension", s.cfg.Storage)
	}
	client, err := store.GetClient(ctx, component.KindProcessor, s.id, "")
	if err != nil {
		return fmt.Errorf("storage: extension %q: %w", s.cfg.Storage, err)
	}
	s.client = client
	s.load(ctx)
	return nil
}

// recordKey names the record of one life.
func recordKey(local bool, key string) string {
	if local {
		return "life/local/" + key
	}
	return "life/other/" + key
}

// load reads what the collector before left. What cannot be read is left
// out, said once, and begins anew: state is worth something, but never the
// start.
func (s *state) load(ctx context.Context) {
	data, err := s.client.Get(ctx, indexKey)
	if err != nil {
		s.logger.Warn("State could not be read; starting fresh", zap.Error(err))
		return
	}
	if data == nil {
		return
	}
	keys, err := readIndex(data)
	if err != nil {
		s.logger.Warn("The index of the state could not be read; starting fresh", zap.Error(err))
		return
	}
	failed := 0
	var first error
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.setHorizon(now)
	for _, key := range keys {
		if err := s.restore(ctx, key, now); err != nil {
			failed++
			first = errors.Join(first, err)
			if failed > 3 {
				first = errors.Join(err)
			}
		}
	}
	s.indexed = failed == 0
	if failed > 0 {
		s.logger.Warn("Part of the state could not be read; these lives start fresh", zap.Int("lives", failed), zap.Int("of", len(keys)), zap.Error(first))
	}
	s.logger.Info("State restored", zap.Int("lives", len(keys)-failed), zap.Int("series", s.engine.SeriesCount()))
}

func (s *state) restore(ctx context.Context, key string, now time.Time) error {
	data, err := s.client.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if len(data) < 4 {
		return fmt.Errorf("%s: %w: %d bytes", key, detect.ErrCorrupt, len(data))
	}
	n := binary.LittleEndian.Uint32(data)
	if uint64(n) > uint64(len(data)-4) {
		return fmt.Errorf("%s: %w: resource of %d bytes", key, detect.ErrCorrupt, n)
	}
	decoded, err := s.engine.Decode(data[4+n:])
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	local := key == recordKey(true, decoded.Key)
	if !local && key != recordKey(false, decoded.Key) || s.tables.byKey[side(local)][decoded.Key] != nil {
		s.engine.Forget(decoded)
		return fmt.Errorf("%s: %w: it is the record of %q", key, detect.ErrCorrupt, decoded.Key)
	}
	if !s.room() {
		s.engine.Forget(decoded)
		return fmt.Errorf("%s: more lives than max_series: %d", key, s.cfg.MaxSeries)
	}
	l := &life{Life: decoded, seen: now, saved: decoded.Now()}
	if n > 0 {
		md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(data[4 : 4+n])
		if err == nil && md.ResourceMetrics().Len() == 1 {
			l.resource, l.kept = md.ResourceMetrics().At(0).Resource().Attributes(), true
		}
	}
	s.adopt(l, local)
	l.host.seen = now
	l.host.advance(decoded.Now(), s.horizon)
	return nil
}

// record encodes one life with the resource that its findings need.
func (s *state) record(l *life) *storage.Operation {
	data := make([]byte, 4, 4096)
	if l.kept {
		md := pmetric.NewMetrics()
		l.resource.CopyTo(md.ResourceMetrics().AppendEmpty().Resource().Attributes())
		if text, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(md); err == nil {
			binary.LittleEndian.PutUint32(data, uint32(len(text)))
			data = append(data, text...)
		}
	}
	l.saved, l.dirty = l.Now(), false
	return storage.SetOperation(recordKey(l.local, l.Key), s.engine.Encode(data, l.Life))
}

// urgent encodes the lives of which a finding changed since the last call,
// and drops those that are gone.
func (s *state) urgent() []*storage.Operation {
	var ops []*storage.Operation
	for _, l := range s.gone {
		ops = append(ops, storage.DeleteOperation(recordKey(l.local, l.Key)))
		s.indexed = false
	}
	ops = append(ops, s.records(s.transitions)...)
	clear(s.transitions)
	clear(s.gone)
	s.transitions, s.gone = s.transitions[:0], s.gone[:0]
	if len(ops) > 0 && !s.indexed {
		ops = append(ops, s.index())
	}
	return ops
}

// index lists the lives that have a record.
func (s *state) index() *storage.Operation {
	data := []byte{indexVersion}
	for i := range s.tables.byKey {
		for _, l := range s.tables.byKey[i] {
			if l.saved != 0 {
				key := recordKey(l.local, l.Key)
				data = binary.AppendUvarint(data, uint64(len(key)))
				data = append(data, key...)
			}
		}
	}
	s.indexed = true
	return storage.SetOperation(indexKey, binary.LittleEndian.AppendUint32(data, crc32.ChecksumIEEE(data)))
}

func readIndex(data []byte) ([]string, error) {
	if len(data) < 5 || data[0] != indexVersion {
		return nil, fmt.Errorf("%w: index of %d bytes", detect.ErrVersion, len(data))
	}
	body := data[:len(data)-4]
	if crc32.ChecksumIEEE(body) != binary.LittleEndian.Uint32(data[len(body):]) {
		return nil, fmt.Errorf("%w: checksum of the index", detect.ErrCorrupt)
	}
	var keys []string
	for body = body[1:]; len(body) > 0; {
		n, used := binary.Uvarint(body)
		if used <= 0 || n > uint64(len(body)-used) {
			return nil, fmt.Errorf("%w: index entry of %d bytes", detect.ErrCorrupt, n)
		}
		keys = append(keys, string(body[used:used+int(n)]))
		body = body[used+int(n):]
	}
	return keys, nil
}

// save encodes and writes, within saveTimeout. Both happen under one lock, so
// that no older record overwrites a newer one. A write that fails is counted;
// the next checkpoint makes it good.
func (s *state) save(ctx context.Context, encode func() []*storage.Operation) {
	if s.client == nil {
		return
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	ops := s.locked(encode)
	if len(ops) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := s.client.Batch(ctx, ops...); err != nil {
		s.telemetry.LeakDetectCheckpointFailures.Add(ctx, 1)
		s.locked(func() []*storage.Operation { s.indexed = false; return nil })
	}
}

func (s *state) locked(fn func() []*storage.Operation) []*storage.Operation {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fn()
}

func (s *state) checkpointLoop(ctx context.Context) {
	ticker := time.NewTicker(s.cfg.CheckpointInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.checkpoint(ctx, false)
		}
	}
}

// checkpoint writes the lives that changed since their last record. A life
// counts as changed when it closed a shortest block since; the lock is held
// for a few lives at a time, so that the stream goes on.
func (s *state) checkpoint(ctx context.Context, all bool) {
	begin := s.now()
	due := s.due(all)
	for len(due) > 0 && ctx.Err() == nil {
		n := min(encodeAtOnce, len(due))
		s.save(ctx, func() []*storage.Operation { return s.records(due[:n]) })
		due = due[n:]
	}
	s.save(ctx, func() []*storage.Operation {
		if s.indexed {
			return nil
		}
		return []*storage.Operation{s.index()}
	})
	s.telemetry.LeakDetectCheckpointDuration.Record(ctx, s.now().Sub(begin).Seconds())
}

func (s *state) due(all bool) []*life {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []*life
	for i := range s.tables.byKey {
		for _, l := range s.tables.byKey[i] {
			if l.Now() != l.saved && (all || l.dirty || l.Now()-l.saved >= s.engine.Block()) {
				due = append(due, l)
			}
		}
	}
	return due
}

// records encodes those of the lives that are still alive.
func (s *state) records(lives []*life) []*storage.Operation {
	var ops []*storage.Operation
	for _, l := range lives {
		if s.tables.byKey[side(l.local)][l.Key] != l {
			continue
		}
		if l.saved == 0 {
			s.indexed = false
		}
		ops = append(ops, s.record(l))
	}
	return ops
}
