package nat

import (
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// A server takes connections from the moment that the scheduler knows it: the
// snapshot that names it comes a little later.
func TestServerThatIsBeingAddedTakesConnections(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-A -t 192.0.2.1:81 -s rr")
	to := netip.MustParseAddrPort("192.0.2.1:81")
	b.e.Update(func(tx *Tx) {
		key := ServiceKey{Proto: ProtoTCP, Addr: to.Addr().As16(), Port: 81}
		if err := tx.AddServer(key, ServerSpec{Key: ServerKey{Addr: rip.Addr().As16(), Port: 81}, Weight: 1}); err != nil {
			t.Fatal(err)
		}
		for _, flags := range []uint8{wire.SYN, wire.ACK} {
			if v, _ := b.in(clientNIC, packet(ProtoTCP, client, to, flags, nil)); v != forwarded {
				t.Errorf("flags %#x: %v (%v)", flags, v, v.Reason)
			}
		}
	})
	if c := b.e.Total(); c.Conns != 1 || c.InPkts != 2 {
		t.Errorf("counted %+v", c)
	}
}

// Frames that wait when their worker ends are not left in the ledger as waiting.
func TestClosedWorkerHoldsNothing(t *testing.T) {
	b := newBed(t, Options{})
	b.routes.routes[1].hop.State = nic.HopUnresolved
	b.e.SetRoutes(b.routes)
	for i := range 3 {
		from := netip.AddrPortFrom(client.Addr(), uint16(1000+i))
		if v, _ := b.in(clientNIC, packet(ProtoTCP, from, vip, wire.SYN, nil)); v != holding {
			t.Fatalf("%v (%v)", v, v.Reason)
		}
	}
	w := b.workers[clientNIC]
	w.Close()
	l := w.Ledger()
	if l.Held != 0 || l.Dropped[Abandoned] != 3 || l.Received != 3 || !l.Balanced() {
		t.Errorf("ledger %+v", l)
	}
}

// The guard keeps every ICMP error about a real server's packets from the host,
// so those that IPVS does not translate are forwarded as the host would.
func TestParameterProblemIsForwardedAsTheHostWould(t *testing.T) {
	quoted := packet(ProtoTCP, client, rip, wire.ACK, []byte("some payload"))
	var buf [600]byte
	n := wire.BuildICMPv4Error(buf[:], [4]byte{192, 0, 2, 254}, 1, wire.ICMPv4ParamProblem, 0, 0, wire.IPv4(quoted.Eth()[wire.EthernetLen:]))
	frame := func() nic.Frame {
		f := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+n)}
		wire.Ethernet(f.Eth()).SetType(wire.TypeIPv4)
		copy(f.Eth()[wire.EthernetLen:], buf[:n])
		return f
	}
	for _, c := range []struct {
		name            string
		guarded, router bool
		want            Verdict
	}{
		{name: "the host sees it", router: true, want: passed},
		{name: "a router", guarded: true, router: true, want: forwarded},
		{name: "no router", guarded: true, want: drop(NoConnection)},
	} {
		b := newBed(t, Options{Guarded: c.guarded})
		b.routes.router = c.router
		b.connect()
		v, out := b.in(serverNIC, frame())
		if v != c.want {
			t.Errorf("%s: %v (%v), want %v", c.name, v, v.Reason, c.want)
		}
		if v != forwarded {
			continue
		}
		o := &out[0]
		o.checksums(t)
		if ttl := wire.IPv4(o.Eth()[o.pkt.L3:]).TTL(); ttl != 63 || o.pkt.Src != netip.MustParseAddr("192.0.2.254").As16() || o.port != clientNIC {
			t.Errorf("%s: left by %d, TTL %d: %+v", c.name, o.port, ttl, o.pkt)
		}
	}
}

// However many connections end at once, one call ends them all if it may, or as
// many as it may.
func TestExpireEndsAFlood(t *testing.T) {
	const conns = 20 * expireBurst
	b := newBed(t, Options{Conns: conntrack.Config{Max: conns, Shards: 4, Seed: 1}})
	flood := func() {
		for i := range conns {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 8), byte(i), 1}), 1234)
			if v, _ := b.in(clientNIC, packet(ProtoTCP, src, vip, wire.SYN, nil)); v != forwarded {
				t.Fatalf("SYN %d: %v (%v)", i, v, v.Reason)
			}
		}
		b.now += 100e9
	}
	flood()
	if n := b.e.Expire(b.now, 1<<20); n < conns || b.e.Table().Len() != 0 {
		t.Errorf("handled %d timers, %d connections are left", n, b.e.Table().Len())
	}
	flood()
	const limit = expireBurst + 1
	for left := conns; left > 0; left = b.e.Table().Len() {
		n := b.e.Expire(b.now, limit)
		if now := b.e.Table().Len(); n > limit || left-now > limit || n < limit && now != 0 {
			t.Fatalf("handled %d timers of at most %d; of %d connections %d are left", n, limit, left, now)
		}
	}
}
