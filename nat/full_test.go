package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// lip is the director's address on the servers' side.
var lip = netip.MustParseAddr("10.0.0.1")

// newFullBed is newBed with a FullNAT server for TCP and one for UDP.
func newFullBed(t testing.TB, opt Options) *bed {
	b := newBed(t, opt)
	b.command("-D -t 192.0.2.1:80", "-A -t 192.0.2.1:80 -s rr", "-a -t 192.0.2.1:80 -r 10.0.0.11:8080 -F",
		"-A -u 192.0.2.1:53 -s rr", "-a -u 192.0.2.1:53 -r 10.0.0.11:53 -F")
	return b
}

func (b *bed) pools(pools ...Pool) {
	b.t.Helper()
	b.e.Update(func(tx *Tx) {
		if err := tx.SetPools(pools); err != nil {
			b.t.Fatal(err)
		}
	})
}

// ends are where a packet comes from and goes to.
func (s *sent) ends() (src, dst netip.AddrPort) {
	return AddrPort(s.pkt.Src, s.pkt.SrcPort), AddrPort(s.pkt.Dst, s.pkt.DstPort)
}

// toServer has a packet of a client judged, and returns the address and port that
// the server sees.
func (b *bed) toServer(at int, f nic.Frame, server netip.AddrPort) netip.AddrPort {
	b.t.Helper()
	v, out := b.in(at, f)
	if v != forwarded || len(out) != 1 {
		b.t.Fatalf("to the server: %v (%v), %d frames", v, v.Reason, len(out))
	}
	out[0].checksums(b.t)
	src, dst := out[0].ends()
	if dst != server {
		b.t.Fatalf("goes to %v, want %v", dst, server)
	}
	return src
}

// toClient has a packet of a server judged, which must come to the client from the VIP.
func (b *bed) toClient(at int, f nic.Frame, from, to netip.AddrPort) *sent {
	b.t.Helper()
	v, out := b.in(at, f)
	if v != forwarded || len(out) != 1 {
		b.t.Fatalf("to the client: %v (%v), %d frames", v, v.Reason, len(out))
	}
	out[0].checksums(b.t)
	if src, dst := out[0].ends(); src != from || dst != to {
		b.t.Fatalf("%v to %v, want %v to %v", src, dst, from, to)
	}
	return &out[0]
}

func TestFullNATBothWays(t *testing.T) {
	for _, proto := range []uint8{ProtoTCP, ProtoUDP} {
		b := newFullBed(t, Options{Guarded: true})
		service, server := vip, rip
		if proto == ProtoUDP {
			service, server = dnsVIP, addrPort(rip.Addr(), 53)
		}
		seen := map[netip.AddrPort]bool{}
		for i := range 50 {
			from := addrPort(client.Addr(), uint16(4000+i))
			local := b.toServer(clientNIC, packet(proto, from, service, wire.SYN, nil), server)
			if local.Addr() != lip || local.Port() < DefaultFirstPort || local.Port() > DefaultLastPort || seen[local] {
				t.Fatalf("client %d comes from %v", i, local)
			}
			seen[local] = true
			b.toClient(serverNIC, packet(proto, server, local, wire.SYN|wire.ACK, []byte("hello")), service, from)
			if again := b.toServer(clientNIC, packet(proto, from, service, wire.ACK, []byte("question")), server); again != local {
				t.Fatalf("comes from %v, and before from %v", again, local)
			}
		}
		if n := b.e.Table().Book().Used(); n != 50 {
			t.Errorf("%d ports are in use", n)
		}
		var s ServiceInfo
		b.e.Update(func(tx *Tx) {
			s, _ = tx.Service(ServiceKey{Proto: proto, Addr: service.Addr().As16(), Port: service.Port()})
		})
		if c := s.Servers[0].Counters; c.Conns != 50 || c.InPkts != 100 || c.OutPkts != 50 {
			t.Errorf("counted %+v", c)
		}
		if proto == ProtoTCP && s.Servers[0].Active != 50 {
			t.Errorf("%d active connections", s.Servers[0].Active)
		}
	}
}

// A client in the servers' own network, or a director with one NIC.
func TestFullNATHairpin(t *testing.T) {
	b := newFullBed(t, Options{})
	near := netip.MustParseAddrPort("10.0.0.77:5000")
	local := b.toServer(serverNIC, packet(ProtoTCP, near, vip, wire.SYN, nil), rip)
	if s := b.toClient(serverNIC, packet(ProtoTCP, rip, local, wire.SYN|wire.ACK, nil), vip, near); s.port != serverNIC {
		t.Errorf("left by NIC %d", s.port)
	}
	// The server itself.
	self := netip.MustParseAddrPort("10.0.0.11:5000")
	local = b.toServer(serverNIC, packet(ProtoTCP, self, vip, wire.SYN, nil), rip)
	b.toClient(serverNIC, packet(ProtoTCP, rip, local, wire.SYN|wire.ACK, nil), vip, self)
}

// What comes to a port of the pool that no connection has is answered as the host
// would, which does not see it; other ports are the host's.
func TestPortsOfNoConnection(t *testing.T) {
	b := newFullBed(t, Options{Guarded: true})
	local := b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil), rip)
	for _, c := range []struct {
		name     string
		src, dst netip.AddrPort
		proto    uint8
		want     Verdict
	}{
		{"another server", addrPort(netip.MustParseAddr("10.0.0.12"), 8080), local, ProtoTCP, replied},
		{"another port of the server", addrPort(rip.Addr(), 8081), local, ProtoTCP, replied},
		{"another protocol", rip, local, ProtoUDP, replied},
		{"another port of the pool", rip, addrPort(lip, local.Port()+1), ProtoTCP, replied},
		{"a port of the host", rip, addrPort(lip, 9999), ProtoTCP, passed},
		{"another address of the host", rip, addrPort(vip.Addr(), local.Port()), ProtoTCP, passed},
	} {
		if v, _ := b.in(serverNIC, packet(c.proto, c.src, c.dst, wire.ACK, nil)); v != c.want {
			t.Errorf("%s: %v (%v)", c.name, v, v.Reason)
		}
	}
	owned := b.e.Owned()
	want := Wide{Selector: Selector{Dst: netip.PrefixFrom(lip, 32), FirstPort: DefaultFirstPort, LastPort: DefaultLastPort}}
	if !slices.Contains(owned.Wide, want) {
		t.Errorf("owned: %+v", owned.Wide)
	}
}

// Without a free port a connection is not made; when one has ended and the server
// has forgotten it, its port is another's.
func TestPortsRunOut(t *testing.T) {
	b := newFullBed(t, Options{})
	b.command("-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -F")
	b.pools(Pool{Name: DefaultPool, Addrs: []Addr{lip.As16(), vip.Addr().As16()}, First: 78, Last: 80})
	from := func(i int) netip.AddrPort { return addrPort(client.Addr(), uint16(4000+i)) }
	locals := map[netip.AddrPort]int{}
	made := 0
	// Five ports, as the service has one of the six itself, towards two servers.
	for i := range 14 {
		v, out := b.in(clientNIC, packet(ProtoTCP, from(i), vip, wire.SYN, nil))
		if v == forwarded {
			made++
			src, _ := out[0].ends()
			locals[src]++
			continue
		}
		if v != drop(NoPort) {
			t.Fatalf("connection %d: %v (%v)", i, v, v.Reason)
		}
	}
	if made != 10 || len(locals) != 5 || locals[vip] != 0 || b.e.Table().Len() != 10 || b.e.Table().Book().Used() != 10 {
		t.Fatalf("%d connections from %v; the table has %d, the book %d", made, locals, b.e.Table().Len(), b.e.Table().Book().Used())
	}
	for a, n := range locals {
		if n != 2 {
			t.Errorf("%d connections from %v, want one to each server", n, a)
		}
	}
	b.now += 300e9
	for b.e.Expire(b.now, 1<<20) > 0 {
	}
	if n := b.e.Table().Book().Used(); n != 0 || b.e.Table().Len() != 0 {
		t.Fatalf("%d ports, %d connections are left", n, b.e.Table().Len())
	}
	if v, _ := b.in(clientNIC, packet(ProtoTCP, from(0), vip, wire.SYN, nil)); v != forwarded {
		t.Errorf("after the others ended: %v (%v)", v, v.Reason)
	}
}

// A connection that ends before its time leaves a port that rests as long as the
// server may know it.
func TestPortsRest(t *testing.T) {
	b := newFullBed(t, Options{})
	b.pools(Pool{Name: DefaultPool, Addrs: []Addr{lip.As16()}, First: 1000, Last: 1000})
	b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil), rip)
	s := DefaultSettings()
	s.DropEntry = 3
	b.e.Update(func(tx *Tx) {
		if err := tx.SetSettings(s); err != nil {
			t.Fatal(err)
		}
	})
	b.e.Defend(1 << 20)
	b.e.Expire(b.now, 1<<20)
	if b.e.Table().Len() != 0 {
		t.Fatal("the half-open connection is still there")
	}
	other := addrPort(client.Addr(), 41)
	if v, _ := b.in(clientNIC, packet(ProtoTCP, other, vip, wire.SYN, nil)); v != drop(NoPort) {
		t.Fatalf("at once: %v (%v)", v, v.Reason)
	}
	b.now += 62e9
	if v, _ := b.in(clientNIC, packet(ProtoTCP, other, vip, wire.SYN, nil)); v != forwarded {
		t.Errorf("a minute later: %v (%v)", v, v.Reason)
	}
}

// ICMP errors about packets of either side reach the other as about its own.
func TestFullNATErrors(t *testing.T) {
	b := newFullBed(t, Options{})
	local := b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil), rip)
	errorAbout := func(router, to string, f nic.Frame) nic.Frame {
		var buf [600]byte
		n := wire.BuildICMPv4Error(buf[:], netip.MustParseAddr(router).As4(), 1, 3, 4, 1280, wire.IPv4(f.Eth()[wire.EthernetLen:]))
		g := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+n)}
		wire.Ethernet(g.Eth()).SetType(wire.TypeIPv4)
		copy(g.Eth()[wire.EthernetLen:], buf[:n])
		wire.IPv4(g.Eth()[wire.EthernetLen:]).SetDst(netip.MustParseAddr(to).As4())
		return g
	}
	for _, c := range []struct {
		name             string
		at               int
		frame            nic.Frame
		src, dst         string
		innerSrc, innerD netip.AddrPort
	}{
		{
			"about the server's", clientNIC, errorAbout("192.0.2.254", "192.0.2.1", packet(ProtoTCP, vip, client, wire.ACK, []byte("some payload"))),
			"10.0.0.1", "10.0.0.11", rip, local,
		},
		{
			"about the client's", serverNIC, errorAbout("10.0.0.254", "10.0.0.1", packet(ProtoTCP, local, rip, wire.ACK, []byte("some payload"))),
			"192.0.2.1", "192.0.2.7", client, vip,
		},
	} {
		v, out := b.in(c.at, c.frame)
		if v != forwarded || len(out) != 1 {
			t.Fatalf("%s: %v (%v)", c.name, v, v.Reason)
		}
		o := &out[0]
		o.checksums(t)
		var q wire.Packet
		if r := q.ParseQuoted(o.Eth(), o.pkt.L4+wire.ICMPLen, false); r != wire.Parsed {
			t.Fatalf("%s: quotes what cannot be read: %v", c.name, r)
		}
		src, dst := o.ends()
		if src.Addr().String() != c.src || dst.Addr().String() != c.dst || AddrPort(q.Src, q.SrcPort) != c.innerSrc || AddrPort(q.Dst, q.DstPort) != c.innerD {
			t.Errorf("%s: from %v to %v, quotes %v to %v", c.name, src, dst, AddrPort(q.Src, q.SrcPort), AddrPort(q.Dst, q.DstPort))
		}
		if !wire.IPv4(o.Eth()[q.L3:]).ChecksumOK() {
			t.Errorf("%s: the quoted header's checksum is wrong", c.name)
		}
	}
}

// The client hears from the VIP that the server does not answer.
func TestFullNATServerThatIsNotThere(t *testing.T) {
	b := newFullBed(t, Options{})
	b.routes.routes[1].hop.State = nic.HopUnresolved
	b.e.SetRoutes(b.routes)
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil)); v != holding {
		t.Fatalf("verdict %v", v)
	}
	w := b.workers[clientNIC]
	b.now += 4e9
	w.Idle(b.now)
	out := b.out(w)
	if len(out) != 1 {
		t.Fatalf("%d answers", len(out))
	}
	o := &out[0]
	o.checksums(t)
	var q wire.Packet
	q.ParseQuoted(o.Eth(), o.pkt.L4+wire.ICMPLen, false)
	if src, dst := o.ends(); src.Addr() != vip.Addr() || dst.Addr() != client.Addr() || AddrPort(q.Src, q.SrcPort) != client || AddrPort(q.Dst, q.DstPort) != vip {
		t.Errorf("%v to %v, quotes %v to %v", src, dst, AddrPort(q.Src, q.SrcPort), AddrPort(q.Dst, q.DstPort))
	}
}

// Datagrams of a service that schedules each by itself have a connection all the
// same, or the answers would not be found.
func TestFullNATOnePacket(t *testing.T) {
	b := newFullBed(t, Options{})
	b.command("-E -u 192.0.2.1:53 -s rr -o", "-a -u 192.0.2.1:53 -r 10.0.0.12:53 -F")
	v, out := b.in(clientNIC, packet(ProtoUDP, client, dnsVIP, 0, []byte("?")))
	if v != forwarded {
		t.Fatal(v)
	}
	local, server := out[0].ends()
	b.toClient(serverNIC, packet(ProtoUDP, server, local, 0, []byte("!")), dnsVIP, client)
}

// Fragments both ways.
func TestFullNATFragments(t *testing.T) {
	b := newFullBed(t, Options{})
	server := addrPort(rip.Addr(), 53)
	whole := func(at int, f nic.Frame) *sent {
		var all []*nic.Frame
		for _, p := range cut(f, 1480, 5) {
			_, out := b.in(at, p)
			for i := range out {
				all = append(all, &out[i].Frame)
			}
		}
		g := together(t, all)
		s := &sent{Frame: g}
		s.pkt.Parse(s.Eth())
		s.checksums(t)
		return s
	}
	local, dst := whole(clientNIC, packet(ProtoUDP, client, dnsVIP, 0, make([]byte, 4000))).ends()
	if dst != server || local.Addr() != lip {
		t.Fatalf("%v to %v", local, dst)
	}
	if src, dst := whole(serverNIC, packet(ProtoUDP, server, local, 0, make([]byte, 4000))).ends(); src != dnsVIP || dst != client {
		t.Fatalf("%v to %v", src, dst)
	}
}

// A server that changes its method keeps its connections as they are.
func TestFullNATEdited(t *testing.T) {
	b := newFullBed(t, Options{Guarded: true})
	local := b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil), rip)
	b.command("-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m", "-D -u 192.0.2.1:53")
	b.toClient(serverNIC, packet(ProtoTCP, rip, local, wire.SYN|wire.ACK, nil), vip, client)
	if got := b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil), rip); got != local {
		t.Errorf("comes from %v now", got)
	}
	other := addrPort(client.Addr(), 41)
	if got := b.toServer(clientNIC, packet(ProtoTCP, other, vip, wire.SYN, nil), rip); got != other {
		t.Errorf("a new one comes from %v", got)
	}
	owned := func() int { return len(b.e.Owned().Wide) }
	if owned() != 1 {
		t.Fatalf("owned: %+v", b.e.Owned().Wide)
	}
	b.now += 1000e9
	for b.e.Expire(b.now, 1<<20) > 0 {
	}
	if changed := b.e.Tick(b.now); !changed || owned() != 0 {
		t.Errorf("when all have ended: changed %v, owned %+v", changed, b.e.Owned().Wide)
	}
}

// Of more pools than the guard can be told of, the last give no ports: the host would
// reset what comes back to them.
func TestPoolsBeyondGuard(t *testing.T) {
	b := newFullBed(t, Options{})
	var pools []Pool
	for i := range uint16(maxLocals + 5) {
		pools = append(pools, Pool{Name: fmt.Sprint("p", i), First: 1000 + 10*i, Last: 1009 + 10*i})
	}
	b.pools(pools...)
	for i := range pools {
		b.command(fmt.Sprintf("-A -t 192.0.2.1:%d -s rr", 2000+i), fmt.Sprintf("-a -t 192.0.2.1:%d -r 10.0.0.11:8080 -F --pool p%d", 2000+i, i))
	}
	owned := b.e.Owned().Ports
	got := 0
	for i := range pools {
		v, out := b.in(clientNIC, packet(ProtoTCP, client, addrPort(vip.Addr(), uint16(2000+i)), wire.SYN, nil))
		if v != forwarded {
			if v != drop(NoPort) {
				t.Errorf("pool %d: %v (%v)", i, v, v.Reason)
			}
			continue
		}
		got++
		src, _ := out[0].ends()
		if !slices.ContainsFunc(owned, func(r PortRange) bool {
			return r.Addr == src.Addr().As16() && r.First <= src.Port() && src.Port() <= r.Last
		}) {
			t.Errorf("pool %d: comes from %v, which is the host's", i, src)
		}
	}
	if got < maxLocals-1 || got == len(pools) {
		t.Errorf("%d of %d pools gave ports", got, len(pools))
	}
}

func TestPoolsRefused(t *testing.T) {
	b := newFullBed(t, Options{})
	a := lip.As16()
	b.e.Update(func(tx *Tx) {
		for name, pools := range map[string][]Pool{
			"no name":      {{First: 1, Last: 2}},
			"no ports":     {{Name: "a"}},
			"turned round": {{Name: "a", First: 2, Last: 1}},
			"two":          {{Name: "a", First: 1, Last: 1}, {Name: "a", First: 1, Last: 1}},
			"twice":        {{Name: "a", First: 1, Last: 1, Addrs: []Addr{a, a}}},
			"multicast":    {{Name: "a", First: 1, Last: 1, Addrs: []Addr{netip.MustParseAddr("224.0.0.1").As16()}}},
			"loopback":     {{Name: "a", First: 1, Last: 1, Addrs: []Addr{netip.MustParseAddr("127.0.0.1").As16()}}},
			"loopback 6":   {{Name: "a", First: 1, Last: 1, Addrs: []Addr{netip.MustParseAddr("::1").As16()}}},
			"too many":     {{Name: "a", First: 1, Last: 1, Addrs: manyAddrs(maxPoolAddrs + 1)}},
		} {
			if err := tx.SetPools(pools); err == nil {
				t.Errorf("%s: accepted", name)
			}
		}
		if got := tx.Pools(); len(got) != 1 || got[0].Name != DefaultPool {
			t.Errorf("pools: %+v", got)
		}
	})
	if err := command(b.e, "-a -t 192.0.2.1:80 -r 10.0.0.12:80 -F --pool none"); err == nil {
		t.Error("a server of no pool is accepted")
	}
}

func manyAddrs(n int) (all []Addr) {
	for i := range n {
		all = append(all, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}).As16())
	}
	return all
}

// Where a route chooses an address that was not foreseen, the first connection does
// without a port, and the next Tick owns it.
func TestAddressIsLearned(t *testing.T) {
	b := newFullBed(t, Options{})
	b.routes.local = append(b.routes.local, netip.MustParseAddr("10.0.0.2"))
	b.e.SetRoutes(b.routes)
	r := *b.routes
	r.routes = slices.Clone(r.routes)
	r.routes[1].hop.Src = netip.MustParseAddr("10.0.0.2").As16()
	b.e.routes.Store(newRoutesBox(&r)) // as a multipath route may choose
	if v, _ := b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil)); v != drop(NoPort) {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
	if !b.e.Tick(b.now) {
		t.Fatal("nothing changed")
	}
	if local := b.toServer(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil), rip); local.Addr().String() != "10.0.0.2" {
		t.Errorf("comes from %v", local)
	}
}

// BenchmarkFullNAT is BenchmarkForward for FullNAT, in turns with masquerading and
// in both directions.
func BenchmarkFullNAT(b *testing.B) {
	for _, method := range []string{"-m", "-F"} {
		for _, back := range []bool{false, true} {
			name := map[bool]string{false: "in", true: "out"}[back]
			b.Run(fmt.Sprintf("%s/%s", method, name), func(b *testing.B) { benchmarkMethod(b, method, back) })
		}
	}
}

func benchmarkMethod(b *testing.B, method string, back bool) {
	const conns = 100_000
	bed := newBed(b, Options{Conns: conntrack.Config{Max: conns + 10}})
	bed.command("-d -t 192.0.2.1:80 -r 10.0.0.11:8080")
	for i := range 10 {
		bed.command(fmt.Sprintf("-a -t 192.0.2.1:80 -r 10.0.0.%d:8080 %s", i+20, method))
	}
	bed.routes.routes = append(bed.routes.routes, testRoute{netip.MustParsePrefix("100.0.0.0/8"), bed.routes.routes[0].hop})
	in, out := bed.workers[clientNIC], bed.workers[serverNIC]
	source := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024+i%50000))
	}
	batch := nic.Batch{N: 32}
	replies := make([]nic.Frame, conns)
	for i := 0; i < conns; i += 32 {
		for k := range 32 {
			batch.Frames[k] = packet(ProtoTCP, source(i+k), vip, wire.SYN, nil)
		}
		in.Process(&batch, bed.now)
		for k, o := range in.Out() {
			var p wire.Packet
			p.Parse(o.Frame.Eth())
			replies[i+k] = packet(ProtoTCP, AddrPort(p.Dst, p.DstPort), AddrPort(p.Src, p.SrcPort), wire.ACK, make([]byte, 10))
		}
		in.Commit()
	}
	const ring = 1 << 14
	frames := make([]nic.Frame, ring)
	fresh := make([][]byte, ring)
	for i := range frames {
		if n := i * 7919 % conns; back {
			frames[i] = replies[n]
			frames[i].Buf = slices.Clone(frames[i].Buf)
		} else {
			frames[i] = packet(ProtoTCP, source(n), vip, wire.ACK, make([]byte, 10))
		}
		fresh[i] = append([]byte(nil), frames[i].Buf[:64]...)
	}
	w := in
	if back {
		w = out
	}
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 32 {
		for k := range 32 {
			n := (i + k) % ring
			copy(frames[n].Buf, fresh[n])
			batch.Frames[k] = frames[n]
		}
		w.Process(&batch, bed.now)
		if b.N >= 32 && w.Verdict(0) != forwarded {
			b.Fatalf("%v (%v)", w.Verdict(0), w.Verdict(0).Reason)
		}
		w.Commit()
	}
}
