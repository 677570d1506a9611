// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"syscall"
	"time"
)

// Target is a running leaky server or its fixed twin.
type Target struct {
	*Child
	Address string
}

// StartUpstream starts what the servers call.
func StartUpstream(ctx context.Context, targets, dir string, attr *syscall.SysProcAttr) (*Child, Announcement, error) {
	return Start(ctx, Spec{Name: "upstream", Path: filepath.Join(targets, "upstream"), Dir: dir, Ready: true, Attr: attr})
}

// StartLeaky starts a copy of the leaky server under a name of its own.
func StartLeaky(ctx context.Context, targets, dir, name string, up Announcement, attr *syscall.SysProcAttr, args ...string) (*Target, error) {
	path := filepath.Join(dir, name)
	if err := CopyExecutable(filepath.Join(targets, "leaky"), path); err != nil {
		return nil, err
	}
	args = append([]string{
		"--upstream", up.HTTP, "--closing-upstream", up.Closing, "--pool-upstream", up.Pool,
	}, args...)
	child, hello, err := Start(ctx, Spec{Name: name, Path: path, Args: args, Dir: dir, Ready: true, Attr: attr})
	if err != nil {
		return nil, err
	}
	return &Target{Child: child, Address: hello.HTTP}, nil
}

// URL of a path of the server.
func (t *Target) URL(path string) string { return "http://" + t.Address + path }

// Tally is what happened to the objects of one kind.
type Tally struct {
	Leaked  int `json:"leaked"`
	Opened  int `json:"opened"`
	Closed  int `json:"closed"`
	Errors  int `json:"errors"`
	Refused int `json:"refused"`
}

// Socket is a socket as its owner sees it.
type Socket struct {
	FD     int    `json:"fd"`
	Inode  uint64 `json:"inode"`
	Local  string `json:"local"`
	Remote string `json:"remote"`
	State  string `json:"state"` // of TCP_INFO on the owner's own descriptor
}

// Truth is what the server itself knows. It is asked over a connection of its
// own, which is closed again.
type Truth struct {
	PID     int              `json:"pid"`
	Fixed   bool             `json:"fixed"`
	Served  int64            `json:"served"`
	Failed  int64            `json:"failed"`
	Tallies map[string]Tally `json:"tallies"`
	Leaked  []Socket         `json:"leaked_sockets"`
	Pool    []Socket         `json:"pool"`
	Workers []int            `json:"workers"`
}

// Count returns how many of the leaked sockets are in a state.
func (t *Truth) Count(state string) int {
	n := 0
	for i := range t.Leaked {
		if t.Leaked[i].State == state {
			n++
		}
	}
	return n
}

// Truth asks the server.
func (t *Target) Truth(ctx context.Context) (Truth, error) {
	var out Truth
	text, err := Get(ctx, t.URL("/truth"))
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(text, &out)
}

// CheckPool lets the server use every connection of its pool once.
func (t *Target) CheckPool(ctx context.Context) error {
	_, err := Get(ctx, t.URL("/pool/check"))
	return err
}

// Get fetches a page of at most 64 MiB on a connection of its own.
func Get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Close = true
	transport := &http.Transport{DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 64<<20))
	if response.StatusCode != http.StatusOK {
		err = errors.Join(err, fmt.Errorf("%s: %s: %.200s", url, response.Status, text))
	}
	return text, err
}
