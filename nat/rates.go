package nat

// Rates are what was counted a second, as estimated.
type Rates struct {
	CPS    uint64 // connections
	InPPS  uint64 // packets from clients
	OutPPS uint64 // packets from real servers
	InBPS  uint64 // bytes of the same
	OutBPS uint64
}

// estimator is the kernel's estimator of rates (ip_vs_est.c): every two seconds
// a quarter of what the estimate lacks is added. Connections and packets a
// second are scaled by 2^10, bytes a second by 2^5.
type estimator struct {
	last                              Counters
	cps, inPPS, outPPS, inBPS, outBPS int64
}

const (
	packetScale = 10
	byteScale   = 5
)

// tick takes over what the counters are now, two seconds after the last tick.
func (e *estimator) tick(now Counters) {
	d := now.minus(e.last)
	e.last = now
	for _, r := range []struct {
		rate  *int64
		count uint64
		scale uint
	}{
		{&e.cps, d.Conns, packetScale},
		{&e.inPPS, d.InPkts, packetScale},
		{&e.outPPS, d.OutPkts, packetScale},
		{&e.inBPS, d.InBytes, byteScale},
		{&e.outBPS, d.OutBytes, byteScale},
	} {
		*r.rate += (int64(r.count<<(r.scale-1)) - *r.rate) >> 2
	}
}

// rates returns the estimates, rounded to the nearest number, halves down.
func (e *estimator) rates() Rates {
	packets := func(rate int64) uint64 { return (uint64(rate) + 1<<(packetScale-1) - 1) >> packetScale }
	bytes := func(rate int64) uint64 { return (uint64(rate) + 1<<(byteScale-1) - 1) >> byteScale }
	return Rates{packets(e.cps), packets(e.inPPS), packets(e.outPPS), bytes(e.inBPS), bytes(e.outBPS)}
}

// Estimate has all rates estimated anew. It is to be called every two seconds.
func (e *Engine) Estimate() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.settings.RunEstimation {
		return
	}
	e.total.estimate()
	for _, s := range e.services {
		s.stats.estimate()
		for _, d := range s.dests { // they change under e.mu, too
			d.stats.estimate()
		}
	}
}

func (t *tally) estimate() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.est.tick(t.raw())
}

// Rates returns the rates over all services.
func (e *Engine) Rates() Rates { return e.total.rates() }
