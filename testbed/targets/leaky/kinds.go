// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// kindNames are the kinds that --leak and --use take.
var kindNames = []string{
	kindCloseWait, kindUnread, kindFile, kindGoroutine, kindInotify, kindTimer, kindCache,
}

const (
	kindCloseWait = "close_wait" // a proxy that never closes its upstream half
	kindUnread    = "unread"     // an HTTP response neither read nor closed
	kindFile      = "file"       // an open file
	kindGoroutine = "goroutine"  // a goroutine blocked on a channel that nobody writes to
	kindInotify   = "inotify"    // a watch that is never removed
	kindTimer     = "timer"      // a ticker that is never stopped
	kindCache     = "cache"      // an entry of a map that is never deleted
)

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

// openFile opens a data file anew, as a server that forgets to close would.
func openFile(dir string) opener {
	var n atomic.Int64
	return func(context.Context) (io.Closer, error) {
		name := filepath.Join(dir, "report-"+strconv.FormatInt(n.Add(1)%64, 10)+".dat")
		return os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	}
}

func openGoroutine() opener {
	return func(context.Context) (io.Closer, error) {
		answer, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			<-answer
		}()
		return closerFunc(func() error {
			close(answer)
			<-done
			return nil
		}), nil
	}
}

// openWatch adds watches to one inotify instance. The kernel has one watch
// per inode, so each gets a directory of its own.
func openWatch(dir string) (opener, io.Closer, error) {
	instance, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, os.NewSyscallError("inotify_init1", err)
	}
	var n atomic.Int64
	open := func(context.Context) (io.Closer, error) {
		path := filepath.Join(dir, "watched-"+strconv.FormatInt(n.Add(1), 10))
		if err := os.Mkdir(path, 0o700); err != nil {
			return nil, err
		}
		watch, err := unix.InotifyAddWatch(instance, path, unix.IN_CREATE)
		if err != nil {
			return nil, errors.Join(os.NewSyscallError("inotify_add_watch", err), os.Remove(path))
		}
		return closerFunc(func() error {
			_, err := unix.InotifyRmWatch(instance, uint32(watch))
			return errors.Join(os.NewSyscallError("inotify_rm_watch", err), os.Remove(path))
		}), nil
	}
	return open, closerFunc(func() error { return unix.Close(instance) }), nil
}

func openTimer() opener {
	return func(context.Context) (io.Closer, error) {
		ticker := time.NewTicker(time.Hour)
		return closerFunc(func() error {
			ticker.Stop()
			return nil
		}), nil
	}
}

// openCache adds 4 KiB under a key that never comes again.
func openCache() opener {
	var (
		mu    sync.Mutex
		next  int
		cache = map[int][]byte{}
	)
	return func(context.Context) (io.Closer, error) {
		mu.Lock()
		defer mu.Unlock()
		next++
		key := next
		page := make([]byte, 4096)
		for i := range page {
			page[i] = byte(key)
		}
		cache[key] = page
		return closerFunc(func() error {
			mu.Lock()
			defer mu.Unlock()
			delete(cache, key)
			return nil
		}), nil
	}
}
