package daemon

import (
	"encoding/binary"
	"slices"
	"syscall"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/nic/merge"
)

// lengths is a way out that keeps of how many payloads each frame is, and refuses
// those of one length.
type lengths struct {
	sent   []int
	refuse int
}

func (l *lengths) Send(frames []*nic.Frame, errs []syscall.Errno) int {
	n := 0
	for i, f := range frames {
		l.sent = append(l.sent, len(f.Segments))
		if errs[i] = 0; len(f.Segments) == l.refuse {
			errs[i] = syscall.ENOBUFS
			continue
		}
		n++
	}
	return n
}

// data returns a segment of a client's connection with a payload of 8 bytes, which is
// number n of them.
func data(port, n int) *nic.Frame {
	f := segment(clientNIC, from(port), vip, wire.ACK)
	f.Buf = append(f.Buf, "payload!"...)
	ip := wire.IPv4(wire.Ethernet(f.Eth()).Payload())
	ip.SetLenID(len(ip), 0)
	tcp := wire.TCP(ip.Payload())
	binary.BigEndian.PutUint32(tcp[4:], uint32(8*n))
	tcp.SetChecksum(0)
	tcp.SetChecksum(^wire.Fold(wire.Sum(tcp, wire.PseudoSum4(ip.Src(), ip.Dst(), 6, len(tcp)))))
	return f
}

// TestThreadMerges has segments of two connections leave as two frames, and each of
// them counts when its frame is not sent.
func TestThreadMerges(t *testing.T) {
	for _, c := range []struct {
		merge     bool
		refuse    int
		want      []int
		forwarded uint64
	}{
		{false, -1, []int{0, 0, 0, 0, 0}, 5},
		{true, -1, []int{3, 2}, 5},
		{true, 3, []int{3, 2}, 2},
		{true, 2, []int{3, 2}, 3},
	} {
		e, _ := newEngine(t)
		dev, _ := newWire(t, clientNIC)
		way := &lengths{refuse: -1}
		l := newOne(e, dev, ports{serverNIC: way, otherNIC: way})
		for _, port := range []int{1, 2, 3} { // the first and the third have the same server
			run1(l, segment(clientNIC, from(port), vip, wire.SYN))
		}
		if c.merge {
			l.merger = new(merge.Merger)
		}
		way.sent, way.refuse = nil, c.refuse
		before := l.worker.Ledger()
		run1(l, data(1, 0), data(3, 0), data(1, 1), data(3, 1), data(1, 2))
		if !slices.Equal(way.sent, c.want) {
			t.Errorf("merging %t: frames of %d payloads left, want %d", c.merge, way.sent, c.want)
		}
		after := l.worker.Ledger()
		if n := after.Forwarded - before.Forwarded; n != c.forwarded || !after.Balanced() {
			t.Errorf("merging %t, refusing %d: forwarded %d, want %d; %+v", c.merge, c.refuse, n, c.forwarded, after)
		}
	}
}
