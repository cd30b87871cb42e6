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

const ledgerWords = 5 + int(NumReasons)

func (l *Ledger) words() (w [ledgerWords]uint64) {
	w[0], w[1], w[2], w[3], w[4] = l.Received, l.Forwarded, l.Replied, l.Passed, l.Held
	copy(w[5:], l.Dropped[:])
	return w
}

// published is a ledger that its worker writes after each batch and anyone
// reads. The sequence number is odd while it is being written (a seqlock), so
// that a reader never sees half of a batch and never makes the worker wait.
type published struct {
	seq  atomic.Uint64
	word [ledgerWords]atomic.Uint64
	last [ledgerWords]uint64 // the worker's copy of word
}

func (p *published) publish(l *Ledger) {
	w := l.words()
	if w == p.last {
		return
	}
	p.seq.Add(1)
	for i, n := range w {
		if n != p.last[i] {
			p.word[i].Store(n)
		}
	}
	p.last = w
	p.seq.Add(1)
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
