package nat

import "sync/atomic"

// Ledger counts what became of every frame that one worker received. It
// balances at any time:
//
//	Received = Forwarded + Replied + Passed + Held + sum of Dropped
type Ledger struct {
	Received  uint64
	Forwarded uint64
	Replied   uint64
	Passed    uint64
	Held      uint64 // frames that wait now; it falls when they go on
	Dropped   [NumReasons]uint64
}

// Balanced reports whether every received frame is accounted for.
func (l *Ledger) Balanced() bool {
	sum := l.Forwarded + l.Replied + l.Passed + l.Held
	for _, n := range l.Dropped {
		sum += n
	}
	return sum == l.Received
}

// Add adds the figures of o, such as those of another worker of the same NIC.
func (l *Ledger) Add(o *Ledger) {
	l.Received += o.Received
	l.Forwarded += o.Forwarded
	l.Replied += o.Replied
	l.Passed += o.Passed
	l.Held += o.Held
	for i, n := range o.Dropped {
		l.Dropped[i] += n
	}
}

const (
	ledgerHead  = 5 // words before those of Dropped
	ledgerWords = ledgerHead + int(NumReasons)
)

func (l *Ledger) head() [ledgerHead]uint64 {
	return [ledgerHead]uint64{l.Received, l.Forwarded, l.Replied, l.Passed, l.Held}
}

// published is a ledger that its worker writes after each batch and anyone
// reads. The sequence number is odd while it is being written (a seqlock), so
// that a reader never sees half of a batch and never makes the worker wait.
type published struct {
	seq  atomic.Uint64
	word [ledgerWords]atomic.Uint64
	last Ledger // the worker's copy of word
}

func (p *published) publish(l *Ledger) {
	dropped := l.Dropped != p.last.Dropped
	now, last := l.head(), p.last.head()
	if now == last && !dropped {
		return
	}
	p.seq.Add(1)
	p.store(0, now[:], last[:])
	if dropped {
		p.store(ledgerHead, l.Dropped[:], p.last.Dropped[:])
		p.last.Dropped = l.Dropped
	}
	p.last.Received, p.last.Forwarded, p.last.Replied, p.last.Passed, p.last.Held = now[0], now[1], now[2], now[3], now[4]
	p.seq.Add(1)
}

// store writes the words from the given one on that are not what they were last.
func (p *published) store(from int, now, last []uint64) {
	for i, n := range now {
		if n != last[i] {
			p.word[from+i].Store(n)
		}
	}
}

func (p *published) read() Ledger {
	var w [ledgerWords]uint64
	for {
		before := p.seq.Load()
		for i := range w {
			w[i] = p.word[i].Load()
		}
		if before&1 == 0 && p.seq.Load() == before {
			break
		}
	}
	l := Ledger{Received: w[0], Forwarded: w[1], Replied: w[2], Passed: w[3], Held: w[4]}
	copy(l.Dropped[:], w[5:])
	return l
}

// count counts what became of a received frame.
func (w *Worker) count(v Verdict) {
	w.ledger.Received++
	switch v.Kind {
	case Forward:
		w.ledger.Forwarded++
	case Reply:
		w.ledger.Replied++
	case Pass:
		w.ledger.Passed++
	case Hold:
		w.ledger.Held++
	default:
		w.ledger.Dropped[v.Reason]++
	}
}
