package nat

import (
	"syscall"

	"vsnat/conntrack"
	"vsnat/nic"
)

// Out is a frame to send and the NIC to send it from.
type Out struct {
	Frame *nic.Frame
	Port  int // ifindex
	// From is the index in the batch of the frame that this one is or answers;
	// -1 for one that had been held.
	From int
	Kind Kind // Forward or Reply
	// Second says that this is not the first of the frames that became of one: the
	// other of two answers, or a later fragment. The first alone is counted.
	Second bool
}

// Ask is a next hop whose link-layer address the kernel should resolve.
type Ask struct {
	Port    int // ifindex
	NextHop Addr
}

// send gives a rewritten frame to its next hop, or lets it wait for the next
// hop's link-layer address. from is the connection whose client sent it, who is
// to hear of a failure, or nil.
func (w *Worker) send(j *job, hop *nic.Hop, from *conntrack.Conn) Verdict {
	if hop.State != nic.HopResolved {
		w.ask(hop)
		if w.held.put(j, w.now, from) == nil {
			return drop(HoldFull)
		}
		return holding
	}
	j.eth.SetAddrs(&hop.DstMAC, &hop.SrcMAC)
	w.mapTag(j.f, hop)
	if j.long {
		if !w.sendPieces(j.f, hop, j.i) {
			return drop(TooBig)
		}
		return forwarded
	}
	w.goes(j.f, hop, j.i)
	return forwarded
}

// goes has the frame, which is the batch's frame i or became of it, leave by the hop's
// NIC.
func (w *Worker) goes(f *nic.Frame, hop *nic.Hop, i int) {
	// Field by field, as above.
	n := len(w.out)
	if n == cap(w.out) {
		w.out = append(w.out, Out{})
	}
	w.out = w.out[:n+1]
	o := &w.out[n]
	o.Frame, o.Port, o.From, o.Kind, o.Second = f, hop.Index, i, Forward, false
}

func (w *Worker) ask(hop *nic.Hop) {
	if n := len(w.asks); n < cap(w.asks) && (n == 0 || w.asks[n-1] != Ask{hop.Index, hop.NextHop}) {
		w.asks = append(w.asks, Ask{hop.Index, hop.NextHop})
	}
}

// Failed says that frame i of Out was not sent, and the kernel's reason.
func (w *Worker) Failed(i int, errno syscall.Errno) {
	if w.out[i].Second {
		return
	}
	if w.out[i].Kind == Reply {
		w.ledger.Replied--
	} else {
		w.ledger.Forwarded--
	}
	w.ledger.Dropped[txReason(errno)]++
}

func txReason(errno syscall.Errno) Reason {
	switch errno {
	case syscall.EMSGSIZE:
		return TxTooBig
	case syscall.ENOBUFS, syscall.EAGAIN, syscall.ENOMEM:
		return TxNoBuffer
	case syscall.ENETDOWN, syscall.ENXIO, syscall.ENODEV:
		return TxNICDown
	}
	return TxFailed
}
