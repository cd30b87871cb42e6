package nat

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// tagged puts a tag into the frame or, as the kernel delivers it, beside it.
func tagged(f nic.Frame, vlan uint16, beside bool) nic.Frame {
	if beside {
		f.VLAN, f.VLANProto = vlan, wire.TypeVLAN
		return f
	}
	const at = nic.VNetHdrLen + 12
	buf := binary.BigEndian.AppendUint16(append([]byte(nil), f.Buf[:at]...), wire.TypeVLAN)
	buf = append(binary.BigEndian.AppendUint16(buf, vlan), f.Buf[at:]...)
	return nic.Frame{Buf: buf, WireLen: f.WireLen + wire.VLANLen}
}

// onTrunk has the servers behind the clients' NIC.
func onTrunk(b *bed) *bed {
	b.routes.routes[1].hop.Index, b.routes.routes[3].hop.Index = clientNIC, clientNIC
	b.e.SetRoutes(b.routes)
	return b
}

func TestVLANTagsAreKeptOnTheirNIC(t *testing.T) {
	for _, beside := range []bool{true, false} {
		for _, c := range []struct {
			name          string
			client, vip   netip.AddrPort
			server        netip.AddrPort
			vlan, leaving uint16
		}{
			{"IPv4", client, vip, rip, 6<<13 | 10, 6<<13 | 10},
			{"IPv6", client6, vip6, rip6, 10, 10},
			{"a priority only", client, vip, rip, 7 << 13, 0},
		} {
			t.Run(c.name, func(t *testing.T) {
				b := onTrunk(newBed6(t, Options{}))
				leaves := func(f nic.Frame, src, dst netip.AddrPort) {
					t.Helper()
					b.now += 1e6
					w, batch := b.workers[clientNIC], nic.Batch{N: 1}
					batch.Frames[0] = tagged(f, c.vlan, beside)
					w.Process(&batch, b.now)
					if out := w.Out(); len(out) != 1 || out[0].Frame.VLAN != c.vlan || (out[0].Frame.VLANProto != 0) != (c.leaving != 0) {
						t.Fatalf("%v: %d frames, tag %#x", w.Verdict(0), len(out), batch.Frames[0].VLAN)
					}
					b.one(w.Verdict(0), b.out(w), clientNIC, src, dst)
				}
				leaves(packet(ProtoTCP, c.client, c.vip, wire.SYN, nil), c.client, c.server)
				leaves(packet(ProtoTCP, c.server, c.client, wire.SYN|wire.ACK, nil), c.vip, c.client)
			})
		}
	}
}

func TestVLANTagsDoNotGoToOtherNICs(t *testing.T) {
	b := newBed(t, Options{})
	w, batch := b.workers[clientNIC], nic.Batch{N: 1}
	batch.Frames[0] = tagged(packet(ProtoTCP, client, vip, wire.SYN, nil), 10, true)
	w.Process(&batch, b.now)
	if out := w.Out(); len(out) != 1 || out[0].Port != serverNIC || out[0].Frame.VLANProto != 0 {
		t.Errorf("%v, %d frames", w.Verdict(0), len(out))
	}
	b.out(w)
}

// What is answered, held, or cut into pieces has its tag, too.
func TestVLANTagsOfAnswers(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(b *bed)
		frame   nic.Frame
		idle    bool
		want    int
	}{
		{name: "a reset", frame: packet(ProtoTCP, client, vip, wire.ACK, nil), want: 1},
		{name: "port unreachable", prepare: func(b *bed) { b.command("-d -t 192.0.2.1:80 -r 10.0.0.11:8080") }, frame: packet(ProtoTCP, client, vip, wire.SYN, nil), want: 1},
		{name: "pieces", frame: func() nic.Frame {
			f := packet(ProtoTCP, client, vip, wire.SYN, make([]byte, 2000))
			ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
			ip[6] = 0
			ip.SetChecksum(ip.CalculateChecksum())
			return f
		}(), want: 2},
		{name: "held", prepare: func(b *bed) { b.routes.routes[1].hop.State = nic.HopUnresolved }, frame: packet(ProtoTCP, client, vip, wire.SYN, nil), idle: true, want: 1},
		{name: "held in vain", prepare: func(b *bed) { b.routes.routes[1].hop.State = nic.HopFailed }, frame: packet(ProtoTCP, client, vip, wire.SYN, nil), idle: true, want: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := onTrunk(newBed(t, Options{Guarded: true}))
			if c.prepare != nil {
				c.prepare(b)
				b.e.SetRoutes(b.routes)
			}
			w, batch := b.workers[clientNIC], nic.Batch{N: 1}
			batch.Frames[0] = tagged(c.frame, 10, true)
			w.Process(&batch, b.now)
			if c.idle {
				w.Commit()
				if b.routes.routes[1].hop.State == nic.HopUnresolved {
					b.routes.routes[1].hop.State = nic.HopResolved
				}
				r := *b.routes
				b.e.SetRoutes(&r)
				w.Idle(b.now + holdFailed)
			}
			if len(w.Out()) != c.want {
				t.Fatalf("%v: %d frames", w.Verdict(0), len(w.Out()))
			}
			for _, o := range w.Out() {
				if o.Port != clientNIC || o.Frame.VLAN != 10 || o.Frame.VLANProto != wire.TypeVLAN {
					t.Errorf("leaves by %d with tag %#x", o.Port, o.Frame.VLAN)
				}
			}
			// The next answer, to a frame without a tag, has none.
			w.Commit()
			batch.Frames[0] = packet(ProtoTCP, netip.AddrPortFrom(client.Addr(), 99), vip, wire.ACK, nil)
			w.Process(&batch, b.now+holdTime)
			for _, o := range w.Out() {
				if o.Frame.VLANProto != 0 {
					t.Errorf("to a frame without a tag: tag %#x", o.Frame.VLAN)
				}
			}
			w.Commit()
		})
	}
}

// Frames of a VLAN that has an interface come to that one's worker, untagged.
func TestVLANInterface(t *testing.T) {
	b := newBed(t, Options{Guarded: true})
	b.routes.links = []nic.Link{{Index: 7, Kind: "vlan", Parent: clientNIC, VLAN: 10}, {Index: 8, Kind: "vlan", Parent: serverNIC, VLAN: 11}}
	r := *b.routes
	b.e.SetRoutes(&r)
	for vlan, want := range map[uint16]Verdict{10: passed, 5<<13 | 10: passed, 11: forwarded} {
		if v, _ := b.in(clientNIC, tagged(packet(ProtoTCP, client, vip, wire.SYN, nil), vlan, true)); v != want {
			t.Errorf("VLAN %d: %v, want %v", vlan, v, want)
		}
	}
	twice := tagged(tagged(packet(ProtoTCP, client, vip, wire.SYN, nil), 12, false), 11, true)
	if v, _ := b.in(clientNIC, twice); v != passed {
		t.Errorf("two tags: %v", v)
	}
}
