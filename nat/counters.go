package nat

import (
	"sync"
	"sync/atomic"
)

// tally is the shared form of Counters: workers add to it once a batch. Zero
// moves the base that readers subtract, so that nothing is lost between a
// worker's addition and the command (ip_vs_zero_stats does the same).
type tally struct {
	conns, inPkts, outPkts, inBytes, outBytes atomic.Uint64

	mu   sync.Mutex
	base Counters  // guarded by mu
	est  estimator // guarded by mu
}

func (t *tally) add(c *Counters) {
	if c.Conns != 0 {
		t.conns.Add(c.Conns)
	}
	if c.InBytes != 0 { // of later fragments only the bytes count
		t.inPkts.Add(c.InPkts)
		t.inBytes.Add(c.InBytes)
	}
	if c.OutBytes != 0 {
		t.outPkts.Add(c.OutPkts)
		t.outBytes.Add(c.OutBytes)
	}
}

func (t *tally) raw() Counters {
	return Counters{t.conns.Load(), t.inPkts.Load(), t.outPkts.Load(), t.inBytes.Load(), t.outBytes.Load()}
}

func (t *tally) read() Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.raw().minus(t.base)
}

// zero sets the counters and rates to 0. What was counted since the rates were
// last estimated counts for the next estimate.
func (t *tally) zero() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.base = t.raw()
	t.est = estimator{last: t.est.last}
}

func (t *tally) rates() Rates {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.est.rates()
}

// gatherTime is how long a busy worker's counts may stay its own, in nanoseconds.
const gatherTime = 100e3

// gatherer collects a worker's counts by server, so that the shared counters are not
// touched with every packet, and where there are many servers not with every batch.
type gatherer struct {
	counts  []Counters // by server number
	touched []uint32   // server numbers with counts
	due     int64      // when they are to be shared
}

// settle shares what was gathered if that is due.
func (g *gatherer) settle(e *Engine, snap *snapshot, now int64) {
	if now >= g.due && len(g.touched) > 0 {
		g.flush(e, snap)
		g.due = now + gatherTime
	}
}

func (g *gatherer) of(server uint32) *Counters {
	if int(server) >= len(g.counts) {
		// Grows only after servers were added: not per packet.
		g.counts = append(g.counts, make([]Counters, int(server)+64-len(g.counts))...)
	}
	c := &g.counts[server]
	if c.Conns|c.InBytes|c.OutBytes == 0 { // what is counted has bytes
		g.touched = append(g.touched, server)
	}
	return c
}

// flush adds what was gathered to the shared counters: to each server's, and to
// a service's and the total once for all servers that follow one another.
func (g *gatherer) flush(e *Engine, snap *snapshot) {
	var svc *service
	var sum, total Counters
	for _, id := range g.touched {
		c := &g.counts[id]
		if d := e.destOf(snap, id); d != nil && d.available.Load() {
			d.stats.add(c)
			if s := d.service.Load(); s != svc {
				if svc != nil {
					svc.stats.add(&sum)
				}
				svc, sum = s, Counters{}
			}
			sum.plus(c)
			total.plus(c)
		}
		*c = Counters{}
	}
	if svc != nil {
		svc.stats.add(&sum)
		e.total.add(&total)
	}
	g.touched = g.touched[:0]
}
