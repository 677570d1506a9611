// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/otel-memguard/memguard/testbed/rig"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestUpstream(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	reader, writer := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1", writer) }()
	var hello rig.Announcement
	require.NoError(t, json.NewDecoder(bufio.NewReader(reader)).Decode(&hello))
	require.True(t, hello.Ready)

	text, err := rig.Get(ctx, "http://"+hello.HTTP+"/quote")
	require.NoError(t, err)
	assert.Contains(t, string(text), "closed")
	text, err = rig.Get(ctx, "http://"+hello.HTTP+"/large")
	require.NoError(t, err)
	assert.Greater(t, len(text), 1<<20)

	dial := func(address string) net.Conn {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "hello\n")
		require.NoError(t, err)
		return conn
	}
	closing := dial(hello.Closing)
	text, err = io.ReadAll(closing) // the server closes, so this ends
	require.NoError(t, err)
	assert.Equal(t, "answer to hello\n", string(text))
	require.NoError(t, closing.Close())

	pool := dial(hello.Pool)
	line, err := bufio.NewReader(pool).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "hello\n", line)

	cancel() // with a connection open
	require.NoError(t, <-ended)
	require.NoError(t, pool.Close())
}
