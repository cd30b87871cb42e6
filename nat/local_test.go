package nat

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

const hostNIC = 99

// newLocalBed has a server on the director itself, reached by those options.
func newLocalBed(t testing.TB, server, flags string) *bed {
	b := newBed6(t, Options{Guarded: true})
	b.e.SetHostPort(hostNIC)
	b.workers[hostNIC] = b.e.NewWorker(hostNIC)
	b.command("-C", "-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r "+server+" "+flags,
		"-A -u 192.0.2.1:53 -s rr", "-a -u 192.0.2.1:53 -r "+server+" "+flags)
	return b
}

func ttl(s *sent) uint8 { return wire.IP(s.Eth()[s.pkt.L3:]).TTL() }

// A masquerading server on the director gets packets rewritten, and its answers are
// the service's. No hop is taken off, neither way.
func TestLocalMasquerading(t *testing.T) {
	own := netip.MustParseAddrPort("10.0.0.1:8080")
	b := newLocalBed(t, own.String(), "-m")
	for range 2 {
		v, out := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, []byte("x")))
		if s := b.one(v, out, hostNIC, client, own); ttl(s) != 64 {
			t.Errorf("TTL %d to the host", ttl(s))
		}
		v, out = b.in(hostNIC, packet(ProtoTCP, own, client, wire.SYN|wire.ACK, []byte("y")))
		if s := b.one(v, out, clientNIC, vip, client); ttl(s) != 64 {
			t.Errorf("TTL %d from the host", ttl(s))
		}
	}
	if got := b.e.LocalServers(); !slices.Equal(got, []Endpoint{{ProtoTCP, 8080, own.Addr().As16()}, {ProtoUDP, 8080, own.Addr().As16()}}) {
		t.Errorf("local servers %v", got)
	}
	var s ServiceInfo
	b.e.Update(func(tx *Tx) { s, _ = tx.Service(vipKey) })
	if c := s.Servers[0].Counters; c.InPkts != 2 || c.OutPkts != 2 || s.Servers[0].Active != 1 {
		t.Errorf("%+v", s.Servers[0])
	}
}

// By direct routing and in tunnels the host gets packets as they came, and what it
// answers goes on.
func TestLocalDirect(t *testing.T) {
	for _, flags := range []string{"-g", "-i", "-i --tun-type gue --tun-port 5555"} {
		b := newLocalBed(t, "10.0.0.1:80", flags)
		f := packet(ProtoTCP, client, vip, wire.SYN, []byte("x"))
		want := bytes.Clone(f.Eth()[wire.EthernetLen:])
		v, out := b.in(clientNIC, f)
		if s := b.one(v, out, hostNIC, client, vip); !bytes.Equal(s.Eth()[wire.EthernetLen:], want) {
			t.Errorf("%s: the host gets % x, want % x", flags, s.Eth()[wire.EthernetLen:], want)
		}
		f = packet(ProtoTCP, vip, client, wire.SYN|wire.ACK, nil)
		want = bytes.Clone(f.Eth()[wire.EthernetLen:])
		v, out = b.in(hostNIC, f)
		if s := b.one(v, out, clientNIC, vip, client); !bytes.Equal(s.Eth()[wire.EthernetLen:], want) {
			t.Errorf("%s: the client gets % x, want % x", flags, s.Eth()[wire.EthernetLen:], want)
		}
		if got := b.e.LocalServers(); len(got) != 2 || got[0].Addr != vip.Addr().As16() && got[1].Addr != vip.Addr().As16() {
			t.Errorf("local servers %v", got)
		}
	}
}

// What the host sends by its port, though it belongs to no connection, goes where
// the host's routes say.
func TestFromTheHost(t *testing.T) {
	b := newLocalBed(t, "10.0.0.1:8080", "-m")
	own := netip.MustParseAddrPort("10.0.0.1:8080")
	stranger := netip.MustParseAddrPort("192.0.2.9:9")
	v, out := b.in(hostNIC, packet(ProtoTCP, own, stranger, wire.RST, nil))
	if s := b.one(v, out, clientNIC, own, stranger); ttl(s) != 64 {
		t.Errorf("TTL %d", ttl(s))
	}
	for name, c := range map[string]struct {
		f    nic.Frame
		want Verdict
	}{
		"multicast":          {packet(ProtoUDP, own, netip.MustParseAddrPort("224.0.0.1:9"), 0, nil), drop(NoAnswer)},
		"no route":           {packet(ProtoUDP, own, netip.MustParseAddrPort("172.16.0.1:9"), 0, nil), drop(NoRouteOut)},
		"too long":           {packet(ProtoTCP, own, stranger, wire.ACK, make([]byte, 1461)), replied},
		"router advertising": {packetOf(wire.ProtoICMPv6, netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::2"), make([]byte, 8)), drop(NoAnswer)},
	} {
		if v, out := b.in(hostNIC, c.f); v != c.want || v == replied && out[0].port != hostNIC {
			t.Errorf("%s: %v (%v), want %v (%v)", name, v, v.Reason, c.want, c.want.Reason)
		}
	}
}

// Both sides' fragments pass.
func TestLocalFragments(t *testing.T) {
	for _, flags := range []string{"-m", "-g"} {
		b := newLocalBed(t, "10.0.0.1:53", flags)
		from := dnsVIP
		if flags == "-m" {
			from = netip.MustParseAddrPort("10.0.0.1:53")
		}
		for _, c := range []struct {
			in, out  int
			src, dst netip.AddrPort
			want     netip.Addr
		}{{clientNIC, hostNIC, client, dnsVIP, from.Addr()}, {hostNIC, clientNIC, from, client, client.Addr()}} {
			var all []*nic.Frame
			for _, f := range cut(packet(ProtoUDP, c.src, c.dst, 0, bytes.Repeat([]byte("z"), 3000)), 1480, 9) {
				_, out := b.in(c.in, f)
				for i := range out {
					if out[i].port != c.out {
						t.Errorf("%s: leaves by %d", flags, out[i].port)
					}
					all = append(all, &out[i].Frame)
				}
			}
			if len(all) != 3 {
				t.Fatalf("%s: %d frames", flags, len(all))
			}
			whole := together(t, all)
			if ip := wire.IPv4(whole.Eth()[wire.EthernetLen:]); netip.AddrFrom4(ip.Dst()) != c.want {
				t.Errorf("%s: to %v, want %v", flags, ip.Dst(), c.want)
			}
		}
	}
}

// Errors about what the server sent reach the host as if it had sent it from where
// it listens.
func TestLocalErrors(t *testing.T) {
	b := newLocalBed(t, "10.0.0.1:8080", "-m")
	b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
	quoted := packet(ProtoTCP, vip, client, wire.ACK, nil)
	m := append([]byte{3, 4, 0, 0, 0, 0, 5, 0}, quoted.Eth()[wire.EthernetLen:]...)
	v, out := b.in(clientNIC, packetOf(wire.ProtoICMP, netip.MustParseAddr("192.0.2.254"), vip.Addr(), m))
	if v != forwarded || len(out) != 1 || out[0].port != hostNIC {
		t.Fatalf("%v (%v), %d frames", v, v.Reason, len(out))
	}
	out[0].checksums(t)
	var q wire.Packet
	q.ParseQuoted(out[0].Eth(), out[0].pkt.L4+wire.ICMPLen, false)
	if got := AddrPort(q.Src, q.SrcPort).String(); got != "10.0.0.1:8080" || AddrPort(out[0].pkt.Dst, 0).Addr().String() != "10.0.0.1" {
		t.Errorf("to %v about %v", AddrPort(out[0].pkt.Dst, 0), got)
	}
}

func TestLocalRefusals(t *testing.T) {
	syn := func() nic.Frame { return packet(ProtoTCP, client, vip, wire.SYN, nil) }
	b := newLocalBed(t, "10.0.0.1:8080", "-m")
	b.e.SetHostPort(0)
	if v, _ := b.in(clientNIC, syn()); v != drop(ServerIsLocal) {
		t.Errorf("no port to the host: %v (%v)", v, v.Reason)
	}
	b = newLocalBed(t, "127.0.0.1:8080", "-m")
	b.routes.local = append(b.routes.local, netip.MustParseAddr("127.0.0.1"))
	if v, _ := b.in(clientNIC, syn()); v != drop(Martian) {
		t.Errorf("loopback: %v (%v)", v, v.Reason)
	}
	// By mark, to an address that is not the host's.
	b = newLocalBed(t, "10.0.0.1:80", "-g")
	b.command("-A -f 7 -s rr", "-a -f 7 -r 10.0.0.1:80 -g")
	b.marks(MarkRule{Selector{Dst: netip.MustParsePrefix("203.0.113.0/24"), Proto: ProtoTCP, FirstPort: 80, LastPort: 80}, 7})
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client, netip.MustParseAddrPort("203.0.113.1:80"), wire.SYN, nil)); v != drop(ServerIsLocal) {
		t.Errorf("not the host's: %v (%v)", v, v.Reason)
	}
}
