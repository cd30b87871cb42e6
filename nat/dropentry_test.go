package nat

import (
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// dropped has the defence go over the whole table once and returns how many
// connections it ended.
func (b *bed) dropped() int {
	before := b.e.Table().Len()
	for first := true; first || b.e.dropper.cursor != 0; first = false {
		b.e.Defend(1 << 20)
		b.e.Expire(b.now, 1<<20)
	}
	return before - b.e.Table().Len()
}

func numberedClient(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + i%200)}), uint16(2000+i))
}

// exchange makes a TCP connection with so many packets of the client, 2 at least.
func (b *bed) exchange(i, packets int) {
	b.in(clientNIC, packet(ProtoTCP, numberedClient(i), vip, wire.SYN, nil))
	b.in(serverNIC, packet(ProtoTCP, rip, numberedClient(i), wire.SYN|wire.ACK, nil))
	for range packets - 1 {
		b.in(clientNIC, packet(ProtoTCP, numberedClient(i), vip, wire.ACK, nil))
	}
}

func TestDropEntry(t *testing.T) {
	const minute = 60e9
	for _, c := range []struct {
		name string
		make func(b *bed)
		wait int64
		want int
	}{
		{"half-open", func(b *bed) {
			for i := range 40 {
				b.in(clientNIC, packet(ProtoTCP, numberedClient(i), vip, wire.SYN, nil))
			}
		}, 0, 40},
		{"established just now", func(b *bed) {
			for i := range 40 {
				b.exchange(i, 2)
			}
		}, minute / 2, 0},
		{"established, two packets, long ago", func(b *bed) {
			for i := range 40 {
				b.exchange(i, 2)
			}
		}, minute, 20},
		{"established, eight packets, long ago", func(b *bed) {
			for i := range 40 {
				b.exchange(i, 8)
			}
		}, minute, 5},
		{"established, nine packets, long ago", func(b *bed) {
			for i := range 40 {
				b.exchange(i, 9)
			}
		}, minute, 0},
		{"closing", func(b *bed) {
			for i := range 10 {
				b.exchange(i, 2)
				b.in(serverNIC, packet(ProtoTCP, rip, numberedClient(i), wire.FIN|wire.ACK, nil))
			}
		}, minute, 0},
		{"UDP, one datagram, long ago", func(b *bed) {
			for i := range 40 {
				b.in(clientNIC, packet(ProtoUDP, numberedClient(i), dnsVIP, 0, nil))
			}
		}, minute, 40},
		{"SCTP, INIT", func(b *bed) {
			for i := range 40 {
				b.in(clientNIC, chunks(numberedClient(i), sctpVIP, wire.SCTPInit))
			}
		}, 0, 40},
		{"SCTP, INIT ACK was seen", func(b *bed) {
			for i := range 40 {
				b.in(clientNIC, chunks(numberedClient(i), sctpVIP, wire.SCTPInit))
				b.in(serverNIC, chunks(sctpRIP, numberedClient(i), wire.SCTPInitAck))
			}
		}, minute, 0},
		{"SCTP, established, one packet, long ago", func(b *bed) {
			for i := range 40 {
				b.in(clientNIC, chunks(numberedClient(i), sctpVIP, wire.SCTPInit))
				b.in(serverNIC, chunks(sctpRIP, numberedClient(i), wire.SCTPCookieAck))
			}
		}, minute, 40},
		{"a template and its half-open connection", func(b *bed) {
			b.command("-E -t 192.0.2.1:80 -s rr -p 300")
			b.in(clientNIC, packet(ProtoTCP, client, vip, wire.SYN, nil))
		}, 0, 2},
		{"an assured template, and its half-open connection", func(b *bed) {
			b.command("-E -t 192.0.2.1:80 -s rr -p 300")
			b.exchange(0, 9)
			// Of another port of the same client, which has the same template.
			other := addrPort(numberedClient(0).Addr(), 999)
			b.in(clientNIC, packet(ProtoTCP, other, vip, wire.SYN, nil))
		}, 0, 1},
		{"an assured template, and its one connection, of two packets, long ago", func(b *bed) {
			b.command("-E -t 192.0.2.1:80 -s rr -p 300")
			b.exchange(0, 2)
		}, minute, 1},
		{"one-packet templates, not assured", func(b *bed) {
			b.command("-E -u 192.0.2.1:53 -s rr -p 300 -o")
			for i := range 40 {
				b.in(clientNIC, packet(ProtoUDP, numberedClient(i), dnsVIP, 0, nil))
			}
		}, 0, 0},
		{"one-packet templates, long ago", func(b *bed) {
			b.command("-E -u 192.0.2.1:53 -s rr -p 300 -o")
			for i := range 40 {
				for range 2 {
					b.in(clientNIC, packet(ProtoUDP, numberedClient(i), dnsVIP, 0, nil))
				}
			}
		}, minute, 20},
		{"a template of an established connection", func(b *bed) {
			b.command("-E -t 192.0.2.1:80 -s rr -p 300")
			b.exchange(0, 9)
		}, minute, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newFragmentBed(t)
			b.command("-d -u 192.0.2.1:53 -r 10.0.0.11:5353", "-a -u 192.0.2.1:53 -r 10.0.0.11:5353 -m",
				"-A --sctp-service 192.0.2.1:3868 -s rr", "-a --sctp-service 192.0.2.1:3868 -r 10.0.0.11:3869 -m")
			c.make(b)
			b.now += c.wait
			if n := b.dropped(); n != 0 {
				t.Errorf("%d connections end with drop_entry 0", n)
			}
			b.set(func(s *Settings) { s.DropEntry = 3 })
			if n := b.dropped(); n != c.want {
				t.Errorf("%d connections end, want %d", n, c.want)
			}
			b.e.Table().Range(func(conn *conntrack.Conn) bool {
				if conn.Control != 0 && b.e.Table().Len() == 1 {
					t.Error("a connection is left without its template")
				}
				return true
			})
			var infos []ServiceInfo
			b.e.Update(func(tx *Tx) { infos = tx.Services() })
			total := 0
			for i := range infos {
				for _, s := range infos[i].Servers {
					total += int(s.Active + s.Inactive + s.Persistent)
				}
			}
			if total != b.e.Table().Len() {
				t.Errorf("the servers count %d connections, the table has %d", total, b.e.Table().Len())
			}
		})
	}
}

// drop_entry 1 waits for memory to be short; a second's turn takes a part of the
// table only.
func TestDropEntryWhenMemoryIsShort(t *testing.T) {
	b := newBed(t, Options{})
	const n = 3200
	for i := range n {
		b.in(clientNIC, packet(ProtoTCP, numberedClient(i), vip, wire.SYN, nil))
	}
	b.set(func(s *Settings) { s.DropEntry = 1 })
	second := func(pages int) int {
		before := b.e.Table().Len()
		b.e.Defend(pages)
		b.e.Expire(b.now, 1<<20)
		return before - b.e.Table().Len()
	}
	if got := second(1 << 20); got != 0 {
		t.Errorf("%d end with memory at hand", got)
	}
	if got := second(10); got != n/dropPieces {
		t.Errorf("%d end in a second, want %d", got, n/dropPieces)
	}
	var is Settings
	b.e.Update(func(tx *Tx) { is = tx.Settings() })
	if is.DropEntry != 2 {
		t.Errorf("drop_entry is %d while memory is short", is.DropEntry)
	}
	if got := second(1 << 20); got != 0 {
		t.Errorf("%d end with memory at hand again", got)
	}
}
