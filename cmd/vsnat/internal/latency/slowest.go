package latency

import (
	"cmp"
	"sync"

	"vsnat/nat"
)

const (
	// windowTime is how much of the time one window is for, in nanoseconds.
	windowTime = 10e9
	// windows are enough for the last minute, which begins in the midst of one.
	windows = 7
	// Kept is how many packets each window keeps.
	Kept = 16
)

// Packet is one packet that was slow, and where its time went. Times and
// durations are in nanoseconds, times since 1970.
type Packet struct {
	Received int64 // by the kernel
	Sent     int64
	// Slept says that the worker slept when the packet came, and Woke when it woke.
	Slept bool
	Woke  int64
	// Picked is when the packet's batch was taken out of the receive ring, Judged
	// when all of the batch was judged.
	Picked, Judged int64
	Batch          int // frames in it
	Subject        nat.Subject
	Kind           nat.Kind
	Record         nat.Record // of the decision on it
}

// Total returns the time from the kernel's receiving the packet to its being sent.
func (p *Packet) Total() int64 { return p.Sent - p.Received }

// Parts are the parts of a packet's time, in nanoseconds. Their sum is Total.
type Parts struct {
	WakeUp  int64 `json:"wake_up_ns"` // until the worker, which slept, ran again
	Ring    int64 `json:"ring_ns"`    // in the receive ring, while the worker was at other packets
	Verdict int64 `json:"verdict_ns"` // from pickup until its batch was judged
	Send    int64 `json:"send_ns"`    // until its batch was sent
}

// Parts returns where the packet's time went.
func (p *Packet) Parts() Parts {
	parts := Parts{Ring: p.Picked - p.Received, Verdict: p.Judged - p.Picked, Send: p.Sent - p.Judged}
	if p.Slept {
		parts.WakeUp = min(max(p.Woke-p.Received, 0), parts.Ring)
		parts.Ring -= parts.WakeUp
	}
	return parts
}

// Slowest keeps the slowest packets of the last minute and a bit more. One
// goroutine at a time adds to it, and never waits; any may read. The zero value is empty.
type Slowest struct {
	mu     sync.Mutex
	window [windows]window // guarded by mu

	// Of the goroutine that adds.
	number int64 // of the window that now falls into
	floor  int64 // what is not slower than this need not be added to it
}

type window struct {
	number  int64 // time divided by windowTime
	n       int
	packets [Kept]Packet
}

// Wants reports whether a packet that was sent at that time, and took so long, is
// among the slowest. Only whoever adds calls it.
func (s *Slowest) Wants(sent, total int64) bool {
	return total > s.floor || sent/windowTime != s.number
}

// Add adds a packet that is wanted. It does nothing if the packets are being read at
// this moment.
func (s *Slowest) Add(p *Packet) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.number = p.Sent / windowTime
	w := &s.window[((s.number%windows)+windows)%windows]
	if w.number != s.number {
		w.number, w.n = s.number, 0
	}
	if w.n < Kept {
		w.packets[w.n] = *p
		w.n++
	} else if i := w.fastest(); w.packets[i].Total() < p.Total() {
		w.packets[i] = *p
	}
	if s.floor = -1; w.n == Kept {
		s.floor = w.packets[w.fastest()].Total()
	}
}

// fastest returns the index of the packet that took the shortest.
func (w *window) fastest() int {
	least := 0
	for i := range w.n {
		if w.packets[i].Total() < w.packets[least].Total() {
			least = i
		}
	}
	return least
}

// Since appends the packets that were sent since a time to all.
func (s *Slowest) Since(from int64, all []Packet) []Packet {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.window {
		w := &s.window[i]
		for j := range w.n {
			if w.packets[j].Sent >= from {
				all = append(all, w.packets[j])
			}
		}
	}
	return all
}

// Slower compares packets so that the slowest comes first.
func Slower(a, b *Packet) int { return cmp.Compare(b.Total(), a.Total()) }

// Record is what one worker measures. Its worker alone writes to it; to begin
// anew, the worker is given another one.
type Record struct {
	// Of the packets that left: from pickup to verdict, from pickup to sent, and
	// from the kernel's receiving them to sent.
	Verdict, Sent, Receive Histogram
	Slowest                Slowest
}
