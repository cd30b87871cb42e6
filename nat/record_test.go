package nat

import (
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// recordOf returns the decision that is recorded of the worker's oldest packet.
func recordOf(w *Worker) *Decision {
	var r Record
	w.Record(&r)
	return r.Decision()
}

// spelled is a decision in words, without what a record has not, and without where a
// connection is in its table.
func spelled(d *Decision) string {
	var b strings.Builder
	line := func(what string, v any) { fmt.Fprintf(&b, "%s: %+v\n", what, v) }
	conn := func(what string, c *conntrack.Copy) {
		if c == nil {
			return
		}
		line(what, []any{
			AddrPort(c.Client, c.ClientPort), AddrPort(c.Virtual, c.VirtualPort), AddrPort(c.Dest, c.DestPort), c.Proto, c.StateName(),
			c.Server, c.Flags, c.Expires, c.Timeout(), c.Created, c.InBytes, c.OutBytes, c.InPkts, c.Mark,
		})
	}
	ruled := func(what string, r *Ruling) {
		if r != nil {
			line(what, *r)
		}
	}
	line("packet", []any{d.At, d.NIC, d.Mark, d.Before, d.From})
	if d.Service != nil {
		line("service", []any{d.Service.Key, d.Service.Scheduler, d.Rule.String()})
	}
	conn("found", d.Found)
	line("given up", d.GivenUp)
	ruled("life", d.Life)
	if u := d.Template; u != nil {
		line("template given up", u.GivenUp)
		conn("template", u.Found)
		ruled("its life", u.Life)
		conn("template now", u.Now)
	}
	if d.Scheduling != nil {
		line("scheduler", d.Scheduling.Scheduler)
	}
	conn("connection", d.Connection)
	line("end", []any{d.Event, d.Verdict, d.Cause, d.To, d.Hop})
	for i := range d.Out {
		line("out", d.Out[i])
	}
	line("more", d.MoreOut)
	return b.String()
}

// What is recorded is what was decided, whatever has become of the service, the server
// and the connection since.
func TestRecordStaysTrue(t *testing.T) {
	b := newBed(t, Options{})
	w := b.workers[clientNIC]
	batch := nic.Batch{N: 1}
	batch.Frames[0] = packet(ProtoTCP, client, vip, wire.SYN, nil)
	w.Process(&batch, b.now)
	var r Record
	w.Record(&r)
	w.Commit()
	before := r.Decision()
	key := ServiceKey{Proto: ProtoTCP, Addr: vip.Addr().As16(), Port: vip.Port()}
	if before.Service.Key != key || before.Scheduling.Scheduler != "rr" || !before.Scheduling.Brief || AddrPort(before.Connection.Dest, before.Connection.DestPort) != rip {
		t.Fatalf("%+v", before)
	}
	told := spelled(before)
	b.command(fmt.Sprintf("-E -t %s -s wlc", vip))
	b.e.Update(func(tx *Tx) {
		if err := tx.DeleteService(key); err != nil {
			t.Fatal(err)
		}
	})
	b.now += 1e12
	for b.e.Expire(b.now, 1000) > 0 {
	}
	if b.e.Table().Len() != 0 {
		t.Fatal("the connection is there still")
	}
	w.Idle(b.now)
	w.Commit()
	after := r.Decision()
	if got := spelled(after); got != told || !reflect.DeepEqual(before, after) {
		t.Errorf("%s\nbecame\n%s", told, got)
	}
}

// The oldest packet is the one that was received first of those that left.
func TestOldest(t *testing.T) {
	other := func(i int) netip.AddrPort { return netip.AddrPortFrom(client.Addr(), uint16(5000+i)) }
	for _, c := range []struct {
		name   string
		times  []int64
		leaves string // of each frame: e goes the express way, s is a SYN, d is dropped, p passed, t is plain but ends in a drop
		want   int
	}{
		{"in order", []int64{1, 2, 3}, "ees", 0},
		{"out of order", []int64{3, 1, 2}, "ese", 1},
		{"out of order, the express way", []int64{3, 2, 1}, "eee", 2},
		{"one that does not leave is older", []int64{1, 2, 3}, "dse", 1},
		{"older ones after it do not leave", []int64{3, 1, 2}, "epd", 0},
		{"an older one cannot go the express way, and is dropped", []int64{3, 1, 2}, "etd", 0},
		{"an older one cannot, after another way", []int64{3, 1, 5}, "ste", 0},
		{"one cannot, and a later one leaves", []int64{1, 3, 2}, "tse", 2},
		{"of the same age", []int64{7, 7, 7}, "pes", 1},
		{"of an age that is not known", []int64{0, 0}, "es", 0},
		{"none leaves", []int64{1, 2}, "pd", -1},
	} {
		b := newBed(t, Options{})
		// A connection whose server is deleted, and one whose server stays.
		b.command(fmt.Sprintf("-a -t %s -r 10.0.0.12:8080 -m", vip))
		gone := netip.MustParseAddrPort("192.0.2.9:40000")
		for _, from := range []netip.AddrPort{client, gone} {
			for _, flags := range []uint8{wire.SYN, wire.ACK} {
				b.in(clientNIC, packet(ProtoTCP, from, vip, flags, nil))
			}
		}
		b.command(fmt.Sprintf("-d -t %s -r %s", vip, AddrPort(b.record.Connection.Dest, 8080)))
		w := b.workers[clientNIC]
		batch := nic.Batch{N: len(c.times)}
		for i := range c.times {
			f := packet(ProtoTCP, client, vip, wire.ACK, make([]byte, i))
			switch c.leaves[i] {
			case 's':
				f = packet(ProtoTCP, other(i), vip, wire.SYN, make([]byte, i))
			case 'd':
				f.Eth()[wire.EthernetLen+10] ^= 1 // its checksum
			case 't':
				f = packet(ProtoTCP, gone, vip, wire.ACK, make([]byte, i))
			case 'p':
				f.Type = nic.ToOther
			}
			f.Time = c.times[i]
			batch.Frames[i] = f
		}
		w.Process(&batch, b.now+1e6)
		if got := w.Oldest(); got != c.want {
			t.Errorf("%s: frame %d, want %d", c.name, got, c.want)
			continue
		}
		if c.want < 0 {
			continue
		}
		if d := recordOf(w); d.Before.Length != 40+c.want || d.Verdict != forwarded {
			t.Errorf("%s: recorded %s", c.name, spelled(d))
		}
	}
}

// Of a packet that leaves in many pieces it is said how many there are.
func TestRecordOfPieces(t *testing.T) {
	b := newBed(t, Options{})
	b.routes.routes[1].hop.MTU = 300
	b.e.SetRoutes(b.routes)
	f := packet(ProtoTCP, client, vip, wire.SYN, make([]byte, 1400))
	ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
	ip[6] &^= 0x40 // it may be fragmented
	ip.SetChecksum(ip.CalculateChecksum())
	v, out := b.in(clientNIC, f)
	if v != forwarded || len(out) <= recordOut {
		t.Fatalf("%v, %d pieces", v, len(out))
	}
	if d := b.record; len(d.Out) != recordOut || d.MoreOut != len(out)-recordOut || d.Out[1].Headers.Length > 300 {
		t.Errorf("%d pieces left, recorded\n%s", len(out), spelled(d))
	}
}
