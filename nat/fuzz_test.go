package nat

import (
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// FuzzEngine gives any bytes to both NICs, as they are and as changes of a
// packet of the connection. Nothing may panic, every frame must be accounted
// for, what leaves must be well-formed, and a connection that the bytes do not
// belong to must go on undisturbed.
func FuzzEngine(f *testing.F) {
	seed := packet(ProtoTCP, client, vip, wire.ACK, []byte("data"))
	f.Add(seed.Buf, uint16(0), byte(0), false)
	f.Add(seed.Buf, uint16(60), byte(0xff), true)
	back := packet(ProtoTCP, rip, client, wire.SYN|wire.ACK, nil)
	f.Add(back.Buf, uint16(30), byte(1), true)
	udp := packet(ProtoUDP, client, vip, 0, []byte("query"))
	f.Add(udp.Buf, uint16(33), byte(6), false)
	diameter := chunks(client, sctpVIP, wire.SCTPCookieEcho, wire.SCTPAbort)
	f.Add(diameter.Buf, uint16(66), byte(2), true)
	call := sipMessage(client, sipVIP, "Call-ID: a@b")
	f.Add(call.Buf, uint16(80), byte('\r'), false)
	f.Add([]byte{}, uint16(3), byte(2), true)
	f.Fuzz(func(t *testing.T, raw []byte, at uint16, with byte, guarded bool) {
		b := newBed(t, Options{Guarded: guarded})
		b.connect()
		b.command("-A -u 192.0.2.1:53 -s lblcr -o -p 10", "-a -u 192.0.2.1:53 -r 10.0.0.12:0 -m",
			"-A -t 192.0.2.1:0 -s rr -p 10 -M 255.255.255.0", "-a -t 192.0.2.1:0 -r 10.0.0.13:0 -m",
			"-A -f 7 -s wlc -p 10", "-a -f 7 -r 10.0.0.14:80 -m",
			"-A -u 192.0.2.1:5060 -s rr -p 10 --pe sip", "-a -u 192.0.2.1:5060 -r 10.0.0.11:5062 -m",
			"-A --sctp-service 192.0.2.1:3868 -s rr -p 10", "-a --sctp-service 192.0.2.1:3868 -r 10.0.0.11:3869 -m")
		b.marks(MarkRule{Selector{LastPort: 0x4000}, 7}, MarkRule{Selector{}, 8})
		if at%2 == 0 {
			if _, err := b.e.Trace(TraceFilter{}); err != nil { // whoever watches changes nothing
				t.Fatal(err)
			}
		}
		for _, index := range []int{clientNIC, serverNIC} {
			for _, fr := range []nic.Frame{
				asFrame(raw), mutant(seed, at, with), mutant(back, at, with), mutant(diameter, at, with), mutant(call, at, with),
			} {
				w := b.workers[index]
				batch := nic.Batch{N: 1}
				batch.Frames[0] = fr
				b.now += 1e6
				w.Process(&batch, b.now)
				for _, o := range w.Out() {
					var p wire.Packet
					if r := p.Parse(o.Frame.Eth()); r != wire.Parsed || o.Port != clientNIC && o.Port != serverNIC {
						t.Fatalf("left by %d: %v", o.Port, r)
					}
					if !wire.IPv4(o.Frame.Eth()[p.L3:p.End]).ChecksumOK() {
						t.Fatal("left with a wrong IP checksum")
					}
				}
				w.Commit()
				if l := w.Ledger(); !l.Balanced() {
					t.Fatalf("the ledger does not balance: %+v", l)
				}
			}
		}
		other := client.Addr().Next()
		if v, _ := b.in(clientNIC, packet(ProtoTCP, addrPort(other, 7), vip, wire.SYN, nil)); v != forwarded {
			t.Fatalf("a client that has to do with none of it: %v (%v)", v, v.Reason)
		}
	})
}

// asFrame is the bytes as a frame with a virtio-net header in front, as long as
// a device would deliver.
func asFrame(raw []byte) nic.Frame {
	buf := append([]byte(nil), raw...)
	for len(buf) < nic.VNetHdrLen {
		buf = append(buf, 0)
	}
	return nic.Frame{Buf: buf, WireLen: len(buf) - nic.VNetHdrLen}
}

func mutant(f nic.Frame, at uint16, with byte) nic.Frame {
	f.Buf = append([]byte(nil), f.Buf...)
	f.Buf[int(at)%len(f.Buf)] = with
	ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
	if ip.IsHeader() {
		ip.SetChecksum(ip.CalculateChecksum())
	}
	return f
}
