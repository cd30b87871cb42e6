package nat

import (
	"net/netip"
	"slices"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// TestTraceFilters has one client connect, and another one ask for nothing that there
// is, and looks at what traces with different filters were told.
func TestTraceFilters(t *testing.T) {
	other := netip.MustParseAddrPort("192.0.2.9:5000")
	all := []string{
		"service tcp 192.0.2.1:80 by exact, rr, to 10.0.0.11:8080 SYN_RECV scheduled, forward",
		"found SYN_RECV, to 10.0.0.11:8080 SYN_RECV scheduled, forward",
		"found SYN_RECV, to 10.0.0.11:8080 ESTABLISHED scheduled, forward",
		"service tcp 192.0.2.1:80 by exact, begins-nothing, reply",
		"drop, bad-ip-checksum",
	}
	for _, c := range []struct {
		name   string
		filter TraceFilter
		want   []int // of all
	}{
		{"all", TraceFilter{}, []int{0, 1, 2, 3, 4}},
		{"a client", TraceFilter{Client: netip.MustParsePrefix("192.0.2.7/32")}, []int{0, 1, 2, 4}},
		{"a client's port", TraceFilter{ClientPort: 5000}, []int{3}},
		{"a VIP", TraceFilter{Virtual: netip.MustParsePrefix("192.0.2.1/32"), VirtualPort: 80}, []int{0, 1, 2, 3, 4}},
		{"another VIP", TraceFilter{Virtual: netip.MustParsePrefix("192.0.2.2/32")}, nil},
		{"a client and a VIP", TraceFilter{Client: netip.MustParsePrefix("192.0.2.8/31"), VirtualPort: 80}, []int{3}},
		{"a server's port is no VIP's", TraceFilter{VirtualPort: 8080}, nil},
		{"new", TraceFilter{New: true}, []int{0, 3}},
		{"not forwarded", TraceFilter{Verdicts: 1<<Reply | 1<<Dropped}, []int{3, 4}},
		{"UDP", TraceFilter{Proto: ProtoUDP}, nil},
		{"every second", TraceFilter{Sample: 2}, []int{1, 3}},
		{"every second of a client", TraceFilter{Sample: 2, Client: netip.MustParsePrefix("192.0.2.7/32")}, []int{1, 4}},
	} {
		b := newBed(t, Options{Guarded: true})
		tr, err := b.e.Trace(c.filter)
		if err != nil {
			t.Fatal(err)
		}
		b.connect()
		b.in(clientNIC, packet(ProtoTCP, other, vip, wire.ACK, nil))
		bad := packet(ProtoTCP, client, vip, wire.ACK, nil)
		bad.Eth()[24] ^= 1
		b.in(clientNIC, bad)
		got, lost := tr.Take()
		slices.SortFunc(got, func(a, b *Decision) int { return int(a.At - b.At) })
		var told1, want []string
		for _, d := range got {
			told1 = append(told1, told(d))
		}
		for _, i := range c.want {
			want = append(want, all[i])
		}
		if !slices.Equal(told1, want) || lost != 0 {
			t.Errorf("%s: %d lost, told\n%q, want\n%q", c.name, lost, told1, want)
		}
		b.e.EndTrace(tr)
		b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil))
		if got, _ := tr.Take(); len(got) != 0 {
			t.Errorf("%s: told of %d packets after its end", c.name, len(got))
		}
	}
}

// TestTraceBounds floods a trace: what has no room or no credit is counted, and what
// becomes of the packets does not change.
func TestTraceBounds(t *testing.T) {
	b := newBed(t, Options{})
	b.connect()
	var traces []*Trace
	for range maxTraces {
		tr, err := b.e.Trace(TraceFilter{})
		if err != nil {
			t.Fatal(err)
		}
		traces = append(traces, tr)
	}
	if _, err := b.e.Trace(TraceFilter{}); err == nil {
		t.Error("there is no bound on traces")
	}
	w := b.workers[clientNIC]
	flood := func(frames int) {
		for range frames {
			batch := nic.Batch{N: 1}
			batch.Frames[0] = packet(ProtoTCP, client, vip, wire.ACK, nil)
			w.Process(&batch, b.now)
			if v := w.Verdict(0); v != forwarded {
				t.Fatal(v)
			}
			w.Commit()
		}
	}
	b.now += 1e12
	flood(traceRoom + 10)
	if got, lost := traces[0].Take(); len(got) != traceRoom || lost != 10 {
		t.Errorf("%d told and %d lost of %d", len(got), lost, traceRoom+10)
	}
	flood(traceBurst)
	if got, lost := traces[0].Take(); len(got) != traceBurst-traceRoom-10 || lost != traceRoom+10 {
		t.Errorf("%d told and %d lost with no credit left", len(got), lost)
	}
	b.now += 1e9 / traceRate * 3
	flood(5)
	if got, lost := traces[0].Take(); len(got) != 3 || lost != 2 {
		t.Errorf("%d told and %d lost with credit for 3", len(got), lost)
	}
	if got, lost := traces[1].Take(); len(got) != traceRoom || lost == 0 {
		t.Errorf("another trace, which nobody has taken from, holds %d and lost %d", len(got), lost)
	}
	for _, tr := range traces {
		b.e.EndTrace(tr)
	}
	if b.e.traces.Load() != nil {
		t.Error("workers still think that there are traces")
	}
}

// FuzzHeadersOf reads headers of anything.
func FuzzHeadersOf(f *testing.F) {
	one, two := packet(ProtoTCP, client, vip, wire.SYN, nil), packet(ProtoUDP, client6, vip6, 0, []byte("x"))
	f.Add(one.Eth())
	f.Add(two.Eth())
	f.Fuzz(func(t *testing.T, frame []byte) {
		if h := headersOf(frame); h.Length < 0 || h.Src == (Addr{}) && h.SrcPort != 0 && h.Dst == (Addr{}) && h.Proto == 0 {
			t.Errorf("%+v", h)
		}
	})
}
