package nat

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// newNarrowBed has a link to the servers that takes packets of mtu bytes.
func newNarrowBed(t testing.TB, mtu int) *bed {
	b := newFragmentBed(t)
	b.routes.routes[1].hop.MTU = mtu
	return b
}

// divisible returns a datagram to the service that may be fragmented.
func divisible(size int) nic.Frame {
	data := make([]byte, size)
	rnd := rand.New(rand.NewPCG(uint64(size), 1))
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	f := packet(ProtoUDP, client, dnsVIP, 0, data)
	ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
	ip.SetFragment(ip.TotalLen(), 0, false)
	return f
}

func frames(out []sent) (all []*nic.Frame) {
	for i := range out {
		all = append(all, &out[i].Frame)
	}
	return all
}

// What is too long for the next link arrives whole, in pieces that fit it, and in
// no more of them than needed.
func TestPieces(t *testing.T) {
	for mtu := 68; mtu <= 1500; mtu += 97 {
		for _, size := range []int{mtu - 27, 700, 1400, 3000, 8000} {
			b := newNarrowBed(t, mtu)
			f := divisible(size)
			want := bytes.Clone(f.Eth()[wire.EthernetLen+wire.IPv4MinLen+wire.UDPLen:])
			v, out := b.in(clientNIC, f)
			per := (mtu - wire.IPv4MinLen) &^ 7
			pieces := (size + wire.UDPLen + per - 1) / per
			if left := size + wire.UDPLen - (pieces-1)*per; pieces > 1 && left+per <= mtu-wire.IPv4MinLen {
				pieces-- // the last one need not be a multiple of 8
			}
			if pieces > pieceSlots {
				if v != drop(TooBig) || len(out) != 0 {
					t.Errorf("MTU %d, %d bytes: %v, %d frames", mtu, size, v, len(out))
				}
				continue
			}
			if v != forwarded || len(out) != pieces {
				t.Errorf("MTU %d, %d bytes: %v, %d pieces, want %d", mtu, size, v, len(out), pieces)
				continue
			}
			for i := range out {
				if n := len(out[i].Eth()) - wire.EthernetLen; n > mtu {
					t.Errorf("MTU %d: a piece of %d bytes", mtu, n)
				}
			}
			whole := together(t, frames(out))
			if got := whole.Eth()[wire.EthernetLen+wire.IPv4MinLen+wire.UDPLen:]; !bytes.Equal(got, want) {
				t.Errorf("MTU %d, %d bytes: arrived changed", mtu, size)
			}
			if l := b.workers[clientNIC].Ledger(); l.Received != 1 || l.Forwarded != 1 {
				t.Errorf("%+v", l)
			}
		}
	}
}

// Fragments are cut further; a checksum left to the sender is completed first.
func TestPiecesOfWhatIsNotWhole(t *testing.T) {
	t.Run("fragments", func(t *testing.T) {
		b := newNarrowBed(t, 1280)
		var all []*nic.Frame
		for _, f := range cut(divisible(4000), 1480, 3) {
			v, out := b.in(clientNIC, f)
			if v != forwarded {
				t.Errorf("%v", v)
			}
			all = append(all, frames(out)...)
		}
		if len(all) != 5 {
			t.Errorf("%d pieces", len(all))
		}
		together(t, all)
	})
	t.Run("checksum left to the sender", func(t *testing.T) {
		b := newNarrowBed(t, 1280)
		f := divisible(3000)
		ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
		wire.UDP(ip.Payload()).SetChecksum(wire.Fold(wire.PseudoSum4(ip.Src(), ip.Dst(), ProtoUDP, len(ip.Payload()))))
		h := f.VNet()
		h[0] = nic.VNetNeedsCsum
		binary.NativeEndian.PutUint16(h[6:], wire.EthernetLen+wire.IPv4MinLen)
		binary.NativeEndian.PutUint16(h[8:], 6)
		v, out := b.in(clientNIC, f)
		if v != forwarded || len(out) != 3 || out[0].VNet().Partial() {
			t.Fatalf("%v, %d pieces", v, len(out))
		}
		together(t, frames(out))
	})
	t.Run("a neighbour to wait for", func(t *testing.T) {
		b := newNarrowBed(t, 1280)
		hop := &b.routes.routes[1].hop
		hop.State = nic.HopUnresolved
		if v, _ := b.in(clientNIC, divisible(3000)); v != holding {
			t.Errorf("%v", v)
		}
		hop.State = nic.HopResolved
		b.e.SetRoutes(b.routes)
		w := b.workers[clientNIC]
		w.Idle(b.now + 1e9)
		out := b.out(w)
		if len(out) != 3 || w.Held() != 0 {
			t.Fatalf("%d pieces, %d held", len(out), w.Held())
		}
		together(t, frames(out))
	})
	t.Run("a super-frame", func(t *testing.T) {
		b := newNarrowBed(t, 1280)
		f := divisible(3000)
		h := f.VNet()
		h[1] = nic.VNetGSOUDPL4
		binary.NativeEndian.PutUint16(h[4:], 1400)
		if v, _ := b.in(clientNIC, f); v != drop(TooBig) {
			t.Errorf("%v", v)
		}
	})
}

func TestPiecesAllocateNothing(t *testing.T) {
	b := newNarrowBed(t, 600)
	w := b.workers[clientNIC]
	f := divisible(5000)
	fresh := bytes.Clone(f.Buf)
	batch := nic.Batch{N: 1}
	batch.Frames[0] = f
	if n := testing.AllocsPerRun(100, func() {
		copy(f.Buf, fresh)
		w.Process(&batch, b.now)
		w.Commit()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if l := w.Ledger(); l.Forwarded != l.Received {
		t.Errorf("%+v", l)
	}
}
