// Copyright The MemGuard Authors
// SPDX-License-Identifier: Apache-2.0

package detect

// history is the old count since the onset, thinned to a fixed size.
type history struct {
	value         [survivalHistory]float64
	n             uint32
	stride, taken uint32
}

func (h *history) add(v float64) {
	if h.stride == 0 {
		h.stride = 1
	}
	h.taken++
	if h.taken < h.stride {
		return
	}
	h.taken = 0
	if h.n == survivalHistory {
		for i := range survivalHistory / 2 {
			h.value[i] = h.value[2*i+1]
		}
		h.n /= 2
		h.stride *= 2
	}
	h.value[h.n] = v
	h.n++
}

// climbs reports that the second half of the climb was at least the given
// share of the first.
func (h *history) climbs(share float64) bool {
	if h.n < 8 {
		return false
	}
	third := func(i uint32) float64 {
		w := max(1, h.n/8)
		from := (h.n - w) * i / 2
		sum := 0.0
		for _, v := range h.value[from : from+w] {
			sum += v
		}
		return sum / float64(w)
	}
	a, b, c := third(0), third(1), third(2)
	return b > a && c-b >= share*(b-a)
}
