// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package autofixextension

import (
	"maps"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
)

// stopSignal is the one receiver of SIGUSR1 in this process. Once an extension
// was created the signal never kills any more: one that comes before a start,
// or between the two runs of a reload, waits for whoever starts next.
var stopSignal = &signalHub{signals: make(chan os.Signal, 1), listeners: map[*killSignal]func(){}}

type signalHub struct {
	install sync.Once
	signals chan os.Signal

	mu        sync.Mutex
	listeners map[*killSignal]func()
	quit      chan struct{}
	ended     chan struct{}
}

// keep takes the signal for the life of the process.
func (h *signalHub) keep() {
	h.install.Do(func() { signal.Notify(h.signals, syscall.SIGUSR1) })
}

// killSignal throws the kill switch on SIGUSR1. The signal only ever stops: a
// second one does not start again.
type killSignal struct{ hub *signalHub }

func (h *signalHub) listen(stop func()) *killSignal {
	h.keep()
	k := &killSignal{hub: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.listeners[k] = stop
	if len(h.listeners) == 1 {
		h.quit, h.ended = make(chan struct{}), make(chan struct{})
		go h.serve(h.quit, h.ended)
	}
	return k
}

func (h *signalHub) serve(quit, ended chan struct{}) {
	defer close(ended)
	for {
		select {
		case <-quit:
			return
		case s := <-h.signals:
			h.mu.Lock()
			stops := slices.Collect(maps.Values(h.listeners))
			h.mu.Unlock()
			if len(stops) == 0 { // the last one left: the signal is for the next
				h.giveBack(s)
				return
			}
			for _, stop := range stops {
				stop()
			}
		}
	}
}

func (h *signalHub) giveBack(s os.Signal) {
	select {
	case h.signals <- s:
	default: // another one waits, which does the same
	}
}

// close ends the listening, not the taking of the signal.
func (k *killSignal) close() {
	h := k.hub
	h.mu.Lock()
	delete(h.listeners, k)
	last, ended := len(h.listeners) == 0, h.ended
	if last {
		close(h.quit)
	}
	h.mu.Unlock()
	if last {
		<-ended
	}
}
