package daemon

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"vsnat/cmd/vsnat/internal/latency"
)

// Machine is what the machine, and this program itself, did in the last minute
// that makes packets wait and is no fault of theirs. Times are in nanoseconds.
type Machine struct {
	// Gaps are of a thread that sleeps for 5 ms again and again, and should run
	// then: how often it was late by more than 0.1 ms, how much in all, and the
	// longest.
	Gaps Waits `json:"scheduling_gaps"`
	// GC are the pauses of this program for garbage collection.
	GC Waits `json:"gc_pauses"`
	// RunQueue is how long the workers waited, ready to run, for a CPU that ran
	// something else, taken together; -1 if the kernel does not tell.
	RunQueue int64 `json:"workers_waited_ns"`
	// Stolen is the share of the CPUs' time in which the hypervisor ran something
	// else.
	Stolen float64 `json:"stolen_share"`
}

// Waits are waits of one kind.
type Waits struct {
	Count   int   `json:"count"`
	Sum     int64 `json:"sum_ns"`
	Longest int64 `json:"longest_ns"`
}

func waits(all []latency.Interval) (w Waits) {
	for _, i := range all {
		w.Count++
		w.Sum += i.To - i.From
		w.Longest = max(w.Longest, i.To-i.From)
	}
	return w
}

// minute is what reports of the recent past go back.
const minute = time.Minute

// clocks are what the kernel counts for ever, looked at once a second and for each
// report.
type clocks struct {
	mu   sync.Mutex
	past []clock // guarded by mu; the last minute's, the oldest first
}

type clock struct {
	at            time.Time
	stolen, total uint64 // ticks of all CPUs
	waited        int64  // by the workers, in nanoseconds; -1 is not known
}

// look adds what the clocks show now.
func (c *clocks) look(now time.Time, workers []int32) {
	next := clock{at: now, waited: waited(workers)}
	next.stolen, next.total = cpuTicks()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.past = append(c.past, next)
	for len(c.past) > 1 && now.Sub(c.past[1].at) >= minute {
		c.past = c.past[1:]
	}
}

// since returns the share of stolen time, and how long the workers waited.
func (c *clocks) since() (stolen float64, waited int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.past) == 0 {
		return 0, -1
	}
	first, last := c.past[0], c.past[len(c.past)-1]
	if total := last.total - first.total; total > 0 {
		stolen = float64(last.stolen-first.stolen) / float64(total)
	}
	if first.waited < 0 || last.waited < 0 {
		return stolen, -1
	}
	// With workers that left, what they had waited went too.
	return stolen, max(last.waited-first.waited, 0)
}

// waited adds up how long threads of this process have waited on a run queue: the
// second figure of schedstat (Documentation/scheduler/sched-stats.rst).
func waited(threads []int32) (sum int64) {
	for _, tid := range threads {
		b, err := os.ReadFile("/proc/self/task/" + strconv.Itoa(int(tid)) + "/schedstat")
		if err != nil {
			return -1
		}
		var ran, ns int64
		if _, err := fmt.Sscan(string(b), &ran, &ns); err != nil {
			return -1
		}
		sum += ns
	}
	return sum
}

// cpuTicks returns how much of the CPUs' time was stolen, and all of it, in ticks:
// the first line of /proc/stat (proc_stat(5)). Guests' time is in user time already.
func cpuTicks() (stolen, total uint64) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, 0
	}
	line, _, _ := bytes.Cut(b, []byte("\n"))
	for i, field := range bytes.Fields(line) {
		n, err := strconv.ParseUint(string(field), 10, 64)
		if i == 0 || i > 8 || err != nil {
			continue
		}
		total += n
		if i == 8 {
			stolen = n
		}
	}
	return stolen, total
}
