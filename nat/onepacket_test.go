package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

var dns = ServiceKey{Proto: ProtoUDP, Addr: vip.Addr().As16(), Port: 53}

// onePacketBed is a director with a one-packet UDP service of three servers.
func onePacketBed(t testing.TB, options string) *bed {
	b := newBed(t, Options{})
	b.command("-A -u 192.0.2.1:53 -s rr -o " + options)
	for i := 11; i <= 13; i++ {
		b.command(fmt.Sprintf("-a -u 192.0.2.1:53 -r 10.0.0.%d:5353 -m", i))
	}
	return b
}

func TestEachDatagramIsScheduled(t *testing.T) {
	b := onePacketBed(t, "")
	for i := range 7 {
		want := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(13 - i%3)}), 5353)
		if got := b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53"); got != want {
			t.Fatalf("datagram %d went to %v, want %v", i, got, want)
		}
		if n := b.e.Table().Len(); n != 0 {
			t.Fatalf("datagram %d left %d entries", i, n)
		}
	}
	var conns, pkts uint64
	for _, d := range b.servers(dns) {
		if d.Active != 0 || d.Inactive != 0 {
			t.Errorf("a server counts %+v", d)
		}
		conns += d.Counters.Conns
		pkts += d.Counters.InPkts
	}
	if conns != 7 || pkts != 7 {
		t.Errorf("%d connections, %d packets", conns, pkts)
	}
	// An answer belongs to no connection: it is the host's.
	answer := packet(ProtoUDP, netip.MustParseAddrPort("10.0.0.13:5353"), netip.MustParseAddrPort("192.0.2.7:1000"), 0, nil)
	if v, _ := b.in(serverNIC, answer); v != passed {
		t.Errorf("the answer: %v (%v)", v, v.Reason)
	}
}

// A server that takes one connection at a time takes every datagram.
func TestDatagramsLeaveNoLoad(t *testing.T) {
	b := onePacketBed(t, "")
	for i := 11; i <= 13; i++ {
		b.command(fmt.Sprintf("-e -u 192.0.2.1:53 -r 10.0.0.%d:5353 -m -x 1 -y 1", i))
	}
	for i := range 9 {
		if v, _ := b.in(clientNIC, packet(ProtoUDP, client, netip.MustParseAddrPort("192.0.2.1:53"), 0, nil)); v != forwarded {
			t.Fatalf("datagram %d: %v (%v)", i, v, v.Reason)
		}
	}
}

// The flag means nothing to TCP, and connections from before it was set go on.
func TestOnePacketIsForNewDatagramsOnly(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-E -t 192.0.2.1:80 -s rr -o", "-A -u 192.0.2.1:53 -s rr", "-a -u 192.0.2.1:53 -r 10.0.0.11:53 -m")
	b.connect()
	b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53")
	b.command("-E -u 192.0.2.1:53 -s rr -o")
	b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53")
	b.opens(ProtoUDP, "192.0.2.7:1001", "192.0.2.1:53")
	if n := b.e.Table().Len(); n != 2 {
		t.Errorf("%d entries, want the TCP connection and the older UDP one", n)
	}
}

func TestOnePacketWithPersistence(t *testing.T) {
	b := onePacketBed(t, "-p 100")
	first := b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53")
	for i := range 5 {
		if got := b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53"); got != first {
			t.Fatalf("datagram %d went to %v, not %v", i, got, first)
		}
	}
	c := b.template()
	if c.InPkts != 6 || c.Expires != b.now+100e9 || b.e.Table().Len() != 1 {
		t.Errorf("template %+v, %d entries", c, b.e.Table().Len())
	}
	if d := b.servers(dns)[first.Addr().String()]; d.Persistent != 1 || d.Inactive != 0 || d.Counters.Conns != 6 {
		t.Errorf("the server counts %+v", d)
	}
	b.seconds(102)
	if n := b.e.Table().Len(); n != 0 {
		t.Errorf("the template, without connections, is still there")
	}
}

func TestOnePacketNeedsNoRoomInTheTable(t *testing.T) {
	b := newBed(t, Options{Conns: conntrack.Config{Max: 1}})
	b.command("-A -u 192.0.2.1:53 -s rr -o", "-a -u 192.0.2.1:53 -r 10.0.0.11:53 -m")
	b.connect()
	b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53")
	if v, _ := b.in(clientNIC, packet(ProtoTCP, addrPort(client.Addr(), 9), vip, wire.SYN, nil)); v != drop(TableFull) {
		t.Errorf("the table has room: %v", v)
	}
}

func TestOnePacketAllocatesNothing(t *testing.T) {
	b := onePacketBed(t, "-p 100")
	w := b.workers[clientNIC]
	fresh := packet(ProtoUDP, client, netip.MustParseAddrPort("192.0.2.1:53"), 0, nil)
	f := packet(ProtoUDP, client, netip.MustParseAddrPort("192.0.2.1:53"), 0, nil)
	batch := nic.Batch{N: 1}
	run := func() {
		copy(f.Buf, fresh.Buf)
		batch.Frames[0] = f
		b.now += 1e6
		w.Process(&batch, b.now)
		w.Commit()
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations a datagram", n)
	}
	if l := w.Ledger(); l.Forwarded < 200 {
		t.Errorf("only %d datagrams went on", l.Forwarded)
	}
}
