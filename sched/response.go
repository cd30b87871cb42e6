package sched

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// responseFloor is the response time that shorter ones count as, and
	// responseCeiling the one that longer ones do, in microseconds. The engine's
	// clock is read once for a batch of packets, so that a sample is wrong by up
	// to the time of a batch; differences below the floor would be noise, and a
	// response time of 0 would make a server's load count for nothing.
	responseFloor   = 100
	responseCeiling = 1<<23 - 1 // 8.4 s

	// trustMax bounds the connections that a server gets without an answer in
	// between: a batch of SYNs comes all at once.
	trustMax = 64

	// oneMore is what one active connection adds to a server's overhead.
	oneMore = 256 + 1
)

// response is how fast a server answers: the average of samples of which each
// counts half as much with every half-life that has passed since.
//
// It also keeps the server from being flooded on the strength of few samples. It
// is trusted with one connection without an answer and one more for each sample
// that still counts, up to trustMax: at first it gets one, when that is answered
// two, then about twice as many with every round of answers.
type response struct {
	heard   atomic.Int64  // when the last sample was taken
	mean    atomic.Uint32 // microseconds, responseFloor to responseCeiling
	trust   atomic.Int32  // connections without an answer; 0 while there is no sample
	waiting atomic.Int32  // connections given since the last answer

	// Guarded by the service's lock.
	tried bool  // a connection was given
	given int64 // when the last one was

	// Of those who take samples. A sample that comes while another worker has
	// the lock is lost, which is better than to wait.
	mu          sync.Mutex
	sum, weight float64 // of samples in microseconds, as of heard
}

// goodStanding reports whether the average may be relied on for one more
// connection: the last sample is younger than fresh, in nanoseconds, and the
// server owes no more answers than it is trusted with.
func (r *response) goodStanding(now, fresh int64) bool {
	return r.waiting.Load() < r.trust.Load() && now-r.heard.Load() < fresh
}

// before reports whether r waits for a trial longer than o.
func (r *response) before(o *response) bool {
	return o.tried && (!r.tried || r.given < o.given)
}

// give notes that the server is given a connection.
func (r *response) give(now int64) {
	r.given, r.tried = now, true
	if r.waiting.Load() < trustMax {
		r.waiting.Add(1)
	}
}

// note takes a sample. All times are in nanoseconds.
func (r *response) note(rtt, now, halfLife int64) {
	r.waiting.Store(0)
	if !r.mu.TryLock() {
		return
	}
	defer r.mu.Unlock()
	age := max(now-r.heard.Load(), 0) // workers' clocks differ by a batch
	if r.trust.Load() == 0 || age >= lrtFresh*halfLife {
		r.sum, r.weight = 0, 0
	}
	left := math.Exp2(-float64(age) / float64(halfLife))
	r.sum = r.sum*left + float64(max(rtt, 0))/float64(time.Microsecond)
	r.weight = r.weight*left + 1
	r.mean.Store(uint32(math.Round(min(max(r.sum/r.weight, responseFloor), responseCeiling))))
	r.heard.Store(max(now, r.heard.Load()))
	r.trust.Store(int32(math.Round(min(1+r.weight, trustMax))))
}

// forget goes back to the beginning, under the service's lock.
func (r *response) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trust.Store(0)
	r.waiting.Store(0)
	r.given, r.tried = 0, false
}

// cost is the response time, in microseconds, times a server's overhead with one
// more connection counted in; at most 2^23 times 2^40.
func (r *response) cost(overhead int64) uint64 {
	return uint64(r.mean.Load()) * uint64(max(overhead+oneMore, 1))
}

// copy makes o, which nobody knows yet, what r is to picks. Samples are not taken
// along, so that none is lost for it.
func (r *response) copy(o *response) {
	o.heard.Store(r.heard.Load())
	o.mean.Store(r.mean.Load())
	o.trust.Store(r.trust.Load())
	o.waiting.Store(r.waiting.Load())
	o.tried, o.given = r.tried, r.given
}
