package nat

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// TestSYNFlood has 200,000 random sources send a SYN each, to a table of 50,000
// connections. The table stays within its bound, what finds no room is dropped
// for that reason and no other, established connections go on meanwhile, and when
// the half-open ones have run out new clients are served.
func TestSYNFlood(t *testing.T) {
	const (
		bound   = 50_000
		sources = 200_000
		friends = 100
	)
	b := newBed(t, Options{Conns: conntrack.Config{Max: bound, Seed: 7}})
	w := b.workers[clientNIC]
	friend := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i)}), 40000)
	}
	establish := func(i int) Verdict {
		b.in(clientNIC, packet(ProtoTCP, friend(i), vip, wire.SYN, nil))
		b.in(serverNIC, packet(ProtoTCP, rip, friend(i), wire.SYN|wire.ACK, nil))
		v, _ := b.in(clientNIC, packet(ProtoTCP, friend(i), vip, wire.ACK, nil))
		return v
	}
	for i := range friends {
		if v := establish(i); v != forwarded {
			t.Fatalf("friend %d: %v", i, v)
		}
	}
	established := func(when string) {
		t.Helper()
		for i := range friends {
			in, _ := b.in(clientNIC, packet(ProtoTCP, friend(i), vip, wire.ACK, []byte("more")))
			out, _ := b.in(serverNIC, packet(ProtoTCP, rip, friend(i), wire.ACK, []byte("more")))
			if in != forwarded || out != forwarded {
				t.Fatalf("%s: friend %d: %v to the server, %v to the client", when, i, in, out)
			}
		}
	}

	batch := nic.Batch{N: 32}
	for k := range batch.N {
		batch.Frames[k] = packet(ProtoTCP, client, vip, wire.SYN, nil)
	}
	template := append([]byte(nil), batch.Frames[0].Buf...)
	x := uint32(1)
	full := 0 // bytes of the table when it was full
	for i := 0; i < sources; i += batch.N {
		for k := range batch.N {
			copy(batch.Frames[k].Buf, template)
			ip := wire.IPv4(batch.Frames[k].Eth()[wire.EthernetLen:])
			x = x*1664525 + 1013904223
			ip.SetSrc([4]byte{100 + byte(x>>30), byte(x >> 16), byte(x >> 8), byte(i + k)})
			binary.BigEndian.PutUint16(ip.Payload(), uint16(1024+(x>>12)%60000))
		}
		b.now += 32_000 // a million a second
		w.Process(&batch, b.now)
		w.Commit()
		if n := b.e.Table().Len(); n > bound {
			t.Fatalf("%d connections, more than %d", n, bound)
		}
		if i == sources/2 {
			established("in the flood")
			full = b.e.Table().Bytes()
		}
	}
	if n := b.e.Table().Len(); n != bound {
		t.Errorf("%d connections after the flood, want the table full", n)
	}
	if n := b.e.Table().Bytes(); n != full {
		t.Errorf("memory grew from %d to %d bytes with the table full", full, n)
	}
	established("after the flood")
	if v, _ := b.in(clientNIC, packet(ProtoTCP, friend(friends), vip, wire.SYN, nil)); v != drop(TableFull) {
		t.Errorf("a new client with the table full: %v", v)
	}
	l := w.Ledger()
	refused := uint64(0)
	for r, n := range l.Dropped {
		if Reason(r) != TableFull && n != 0 {
			t.Errorf("%d dropped as %s", n, Reason(r))
		}
		refused += n
	}
	// Of the sources drawn some are the same, and find their connection.
	if !l.Balanced() || refused < sources-bound-sources/100 || refused > sources-bound+friends+1 {
		t.Errorf("%+v", l)
	}

	// SYN_RECV lasts a minute.
	b.now += 61e9
	for b.e.Expire(b.now, 100_000) > 0 {
	}
	if n := b.e.Table().Len(); n != friends {
		t.Errorf("%d connections are left, want those of the %d friends", n, friends)
	}
	established("a minute later")
	if v := establish(friends); v != forwarded {
		t.Errorf("a new client a minute later: %v", v)
	}
	var s ServiceInfo
	b.e.Update(func(tx *Tx) { s, _ = tx.Service(vipKey) })
	if v := &s.Servers[0]; v.Active != friends+1 || v.Inactive != 0 {
		t.Errorf("the server has %d active and %d inactive connections", v.Active, v.Inactive)
	}
}
