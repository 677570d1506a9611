// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// killSignal throws the kill switch on SIGUSR1. The signal only ever stops: a
// second one does not start again.
type killSignal struct {
	signals chan os.Signal
	done    chan struct{}
	wait    sync.WaitGroup
}

func listenForStop(stop func()) *killSignal {
	k := &killSignal{signals: make(chan os.Signal, 1), done: make(chan struct{})}
	signal.Notify(k.signals, syscall.SIGUSR1)
	k.wait.Go(func() {
		for {
			select {
			case <-k.signals:
				stop()
			case <-k.done:
				return
			}
		}
	})
	return k
}

func (k *killSignal) close() {
	signal.Stop(k.signals)
	close(k.done)
	k.wait.Wait()
}
