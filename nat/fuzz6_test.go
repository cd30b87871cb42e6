package nat

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// sound reports whether the frame's lengths and checksums are right, as far as
// they can be seen: of a fragment, those of the IP header alone.
func sound(eth []byte) bool {
	var p wire.Packet
	r := p.Parse(eth)
	if r != wire.Parsed && r != wire.LaterFragment {
		return false
	}
	ip, l4 := wire.IP(eth[p.L3:p.End]), eth[p.L4:p.End]
	if !p.V6 && !wire.IPv4(ip).ChecksumOK() {
		return false
	}
	if p.Frag {
		return true
	}
	switch p.Proto {
	case wire.ProtoICMP:
		return wire.ICMPv4(l4).ChecksumOK()
	case wire.ProtoSCTP:
		return wire.SCTP(l4).Checksum() == wire.SCTP(l4).CalculateChecksum()
	case ProtoTCP:
		if !wire.TCP(l4).IsValid() {
			return false
		}
	case ProtoUDP:
		switch u := wire.UDP(l4); {
		case u.Length() != len(l4):
			return false
		case u.Checksum() == 0:
			return !p.V6
		}
	}
	return wire.Fold(wire.Sum(l4, ip.PseudoSum(p.Proto, len(l4)))) == 0xffff
}

// repaired makes the checksums of a frame right.
func repaired(f nic.Frame) nic.Frame {
	f.Buf = bytes.Clone(f.Buf)
	var p wire.Packet
	if p.Parse(f.Eth()) != wire.Parsed || p.Frag {
		return f
	}
	ip, l4 := wire.IP(f.Eth()[p.L3:p.End]), f.Eth()[p.L4:p.End]
	if !p.V6 {
		wire.IPv4(ip).SetChecksum(wire.IPv4(ip).CalculateChecksum())
	}
	pseudo := ip.PseudoSum(p.Proto, len(l4))
	switch p.Proto {
	case ProtoTCP:
		wire.TCP(l4).SetChecksum(0)
		wire.TCP(l4).SetChecksum(^wire.Fold(wire.Sum(l4, pseudo)))
	case ProtoUDP:
		wire.UDP(l4).SetChecksum(0)
		wire.UDP(l4).SetChecksum(wire.SumToChecksum(wire.Sum(l4, pseudo)))
	case wire.ProtoSCTP:
		wire.SCTP(l4).SetChecksum(wire.SCTP(l4).CalculateChecksum())
	case wire.ProtoICMP:
		wire.ICMPv4(l4).SetChecksum(0)
		wire.ICMPv4(l4).SetChecksum(wire.Checksum(l4))
	case wire.ProtoICMPv6:
		wire.ICMPv6(l4).SetChecksum(0)
		wire.ICMPv6(l4).SetChecksum(^wire.Fold(wire.Sum(l4, pseudo)))
	}
	return f
}

// bedOfIPv6 has connections and services of all kinds, and seeds are packets that
// concern them: of every protocol, with extension headers, in fragments, tagged,
// and errors about them.
func bedOfIPv6(t testing.TB, guarded bool) (b *bed, seeds []nic.Frame) {
	b = newBed6(t, Options{Guarded: guarded})
	b.command("-A -t [2001:db8:c::1]:443 -s sh -p 10 -M 64", "-a -t [2001:db8:c::1]:443 -r [2001:db8:5::12]:443 -g",
		"-A -f 7 -6 -s rr", "-a -f 7 -6 -r [2001:db8:5::13]:0 -m")
	b.marks(MarkRule{Selector{FirstPort: 1000, LastPort: 0x4000}, 7})
	dns, dnsServer := netip.AddrPortFrom(vip6.Addr(), 53), netip.AddrPortFrom(rip6.Addr(), 53)
	b.in(clientNIC, packet(ProtoTCP, client6, vip6, wire.SYN, nil))
	b.in(clientNIC, packet(ProtoUDP, client6, dns, 0, nil))
	big := packet(ProtoUDP, client6, dns, 0, make([]byte, 1600))
	return b, []nic.Frame{
		packet(ProtoTCP, client6, vip6, wire.ACK, []byte("data")),
		packet(ProtoTCP, rip6, client6, wire.SYN|wire.ACK, []byte("more")),
		packet(ProtoUDP, client6, dns, 0, []byte("query")),
		packet(ProtoUDP, dnsServer, client6, 0, []byte("answer")),
		extended(extended(packet(ProtoUDP, client6, dns, 0, []byte("query")), 60), 0),
		piece(big, 0, 800, true, 1), piece(big, 800, 1600, true, 1),
		complaint(client6.Addr(), vip6.Addr(), 1, 4, packet(ProtoTCP, vip6, client6, wire.ACK, []byte("data")), 60),
		complaint(rip6.Addr(), client6.Addr(), 2, 0, packet(ProtoUDP, client6, dnsServer, 0, []byte("query")), 60),
		tagged(packet(ProtoTCP, client6, vip6, wire.ACK, []byte("data")), 10, false),
		packet(ProtoTCP, client6, netip.AddrPortFrom(vip6.Addr(), 443), wire.SYN, nil),
	}
}

// soundIn has the NIC receive the frame. What leaves of a frame that was sound
// must be sound, as must be all that we say ourselves. It returns how many frames
// left.
func (b *bed) soundIn(index int, fr nic.Frame) int {
	b.t.Helper()
	fr.Buf = bytes.Clone(fr.Buf)
	was := bytes.Clone(fr.Eth())
	right := sound(was) && bytes.Equal(fr.VNet(), make([]byte, nic.VNetHdrLen))
	w, batch := b.workers[index], nic.Batch{N: 1}
	batch.Frames[0] = fr
	b.now += 1e6
	w.Process(&batch, b.now)
	n := len(w.Out())
	for _, o := range w.Out() {
		if o.Port != clientNIC && o.Port != serverNIC {
			b.t.Fatalf("left by NIC %d", o.Port)
		}
		if (o.Kind == Reply || right && o.From == 0) && !sound(o.Frame.Eth()) {
			b.t.Fatalf("left unsound (kind %d):\n%x\nwas\n%x", o.Kind, o.Frame.Eth(), was)
		}
	}
	w.Commit()
	if l := w.Ledger(); !l.Balanced() {
		b.t.Fatalf("the ledger does not balance: %+v", l)
	}
	return n
}

// stranger checks that a client that has to do with nothing else is served.
func (b *bed) stranger(port uint16) {
	b.t.Helper()
	other := netip.AddrPortFrom(client6.Addr().Next(), port)
	v, out := b.in(clientNIC, packet(ProtoTCP, other, vip6, wire.SYN, nil))
	b.one(v, out, serverNIC, other, rip6)
}

// soundThrough gives any bytes to both NICs, and a packet with some bytes changed,
// its checksums left or repaired.
func (b *bed) soundThrough(raw []byte, changed nic.Frame, changes map[uint16]byte) {
	b.t.Helper()
	for i, c := range changes {
		changed.Buf[nic.VNetHdrLen+int(i)%len(changed.Eth())] = c
	}
	for _, index := range []int{clientNIC, serverNIC} {
		for _, fr := range []nic.Frame{asFrame(raw), changed, repaired(changed)} {
			b.soundIn(index, fr)
		}
	}
}

// FuzzIPv6 gives any bytes to both NICs, and packets with two bytes changed.
func FuzzIPv6(f *testing.F) {
	_, seeds := bedOfIPv6(f, false)
	for i := range seeds {
		f.Add([]byte(nil), uint8(i), uint16(20+7*i), byte(i), uint16(60), byte(0xff), i%2 == 0)
		f.Add(seeds[i].Buf, uint8(i), uint16(68), byte(1), uint16(31), byte(4), i%2 != 0)
	}
	f.Fuzz(func(t *testing.T, raw []byte, seed uint8, at uint16, with byte, at2 uint16, with2 byte, guarded bool) {
		b, seeds := bedOfIPv6(t, guarded)
		b.soundThrough(raw, seeds[int(seed)%len(seeds)], map[uint16]byte{at: with, at2: with2})
		b.stranger(7)
	})
}

// TestIPv6MutantsStaySound is the same with random changes of up to four bytes, many
// to one engine.
func TestIPv6MutantsStaySound(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 10))
	left := 0
	for round := range 20 {
		b, seeds := bedOfIPv6(t, round%2 == 0)
		for range 1000 {
			f := seeds[rnd.IntN(len(seeds))]
			f.Buf = bytes.Clone(f.Buf)
			for range rnd.IntN(5) {
				// Mostly in the headers.
				f.Buf[nic.VNetHdrLen+rnd.IntN(min(len(f.Eth()), 14+rnd.IntN(120)+1))] = byte(rnd.Uint32())
			}
			if rnd.IntN(4) != 0 {
				f = repaired(f)
			}
			left += b.soundIn([]int{clientNIC, serverNIC}[rnd.IntN(2)], f)
		}
		b.stranger(9)
	}
	if left < 2000 {
		t.Errorf("only %d frames left: nothing is tried", left)
	}
}
