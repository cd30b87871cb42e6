package nat

import "vsnat/nic"

// The general way: what is asked of a frame that was read, in which order. Each answer
// is in the file of what it is about. What needs none of these questions goes another
// way, see express.go.

// pass passes judgement on the batch's frame i, which was read, by the general way.
func (w *Worker) pass(i int, f *nic.Frame) {
	if w.verdicts[i] != undecided {
		if w.traces.all != nil && w.verdicts[i].Kind == Dropped {
			w.unread(f.Eth(), w.verdicts[i])
		}
		return
	}
	w.pkt, w.frame = &w.pkts[i], f
	if f.Time >= w.oldest.time && w.traces.all == nil && !w.explains {
		w.verdicts[i] = w.judge(&w.jobs[i])
	} else {
		w.verdicts[i] = w.asked(&w.jobs[i])
	}
}

// judge decides about a frame that was read.
func (w *Worker) judge(j *job) Verdict {
	if w.fromHost() {
		return w.judgeHost(j)
	}
	return w.judgeAny(j)
}

// judgeAny decides about a frame wherever it came from.
func (w *Worker) judgeAny(j *job) Verdict {
	if !j.flow && !j.later && isIPsec(w.pkt) {
		return w.ipsec(j)
	}
	if len(w.snap.tunnels) > 0 && !j.flow && !j.later {
		if v := w.tunnelError(j); v != passed {
			return v
		}
	}
	switch {
	case j.later:
		return w.laterFragment(j)
	case w.pkt.Frag && w.followed(w.pkt):
		return w.firstFragment(j)
	}
	return w.judgeWhole(j)
}

// judgeWhole decides about a packet that is whole, or about the first fragment of one.
func (w *Worker) judgeWhole(j *job) Verdict {
	if j.flow {
		return w.judgeFlow(j)
	}
	if j.home {
		if v, ok := w.icmpHomebound(j); ok {
			return v
		}
	}
	switch {
	case j.in:
		return w.icmpInbound(j)
	case len(w.snap.rules) > 0:
		// Connections by mark have any address as their VIP.
		if v := w.icmpInbound(j); v != passed {
			return v
		}
	}
	return w.icmpOutbound(j)
}

// judgeFlow decides about a packet of a protocol that services have.
func (w *Worker) judgeFlow(j *job) Verdict {
	if w.pkt.Proto == ProtoSCTP {
		j.completeSCTP()
	}
	if j.home {
		if v, ok := w.homebound(j); ok {
			return v
		}
	}
	switch {
	case j.in:
		return w.inbound(j)
	case len(w.snap.rules) > 0 && w.forMark(j):
		// What is to no VIP was taken for an answer.
		j.hash = w.e.table.Hash(w.pkt.Proto, w.pkt.Src, w.pkt.SrcPort)
		return w.inbound(j)
	}
	return w.outbound(j)
}
