package nat

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

func (b *bed) marks(rules ...MarkRule) {
	b.t.Helper()
	b.e.Update(func(tx *Tx) {
		if err := tx.SetMarkRules(rules); err != nil {
			b.t.Fatal(err)
		}
	})
}

// to selects by destination.
func to(prefix string) Selector { return Selector{Dst: netip.MustParsePrefix(prefix)} }

// markBed is a director with a service of mark 7 for 198.51.100.0/24, whose
// servers have port 8080. rr begins with .12.
func markBed(t testing.TB, opt Options, options string) *bed {
	b := newBed(t, opt)
	b.command("-A -f 7 -s rr "+options, "-a -f 7 -r 10.0.0.11:8080 -m", "-a -f 7 -r 10.0.0.12:8080 -m")
	b.marks(MarkRule{to("198.51.100.0/24"), 7})
	return b
}

func TestMarkRules(t *testing.T) {
	rules := []MarkRule{
		{Selector{Dst: netip.MustParsePrefix("198.51.100.9/32")}, 0},
		{Selector{Src: netip.MustParsePrefix("192.0.2.0/25"), Dst: netip.MustParsePrefix("198.51.100.0/24")}, 1},
		{Selector{Dst: netip.MustParsePrefix("198.51.100.0/24"), Proto: ProtoTCP, FirstPort: 80, LastPort: 90}, 2},
		{Selector{Dst: netip.MustParsePrefix("198.51.100.0/24"), NIC: serverNIC}, 3},
		{Selector{Proto: ProtoUDP, FirstPort: 0, LastPort: 53}, 4},
		{Selector{FirstPort: 443, LastPort: 443}, 5},
	}
	b := newBed(t, Options{})
	b.marks(rules...)
	for _, c := range []struct {
		proto    uint8
		src, dst string
		nic      int
		want     uint32
	}{
		{ProtoTCP, "192.0.2.7:1", "198.51.100.9:80", clientNIC, 0},
		{ProtoTCP, "192.0.2.7:1", "198.51.100.8:80", clientNIC, 1},
		{ProtoTCP, "192.0.2.127:1", "198.51.100.255:80", clientNIC, 1},
		{ProtoTCP, "192.0.2.128:1", "198.51.100.8:80", clientNIC, 2},
		{ProtoTCP, "192.0.2.128:1", "198.51.100.8:90", clientNIC, 2},
		{ProtoTCP, "192.0.2.128:1", "198.51.100.8:79", clientNIC, 0},
		{ProtoTCP, "192.0.2.128:1", "198.51.100.8:91", clientNIC, 0},
		{ProtoTCP, "192.0.2.128:1", "198.51.100.8:91", serverNIC, 3},
		{ProtoUDP, "192.0.2.128:1", "198.51.100.8:80", clientNIC, 0},
		{ProtoUDP, "192.0.2.128:1", "198.51.101.8:0", clientNIC, 4},
		{ProtoUDP, "192.0.2.128:1", "198.51.101.8:53", clientNIC, 4},
		{ProtoUDP, "192.0.2.128:1", "198.51.101.8:54", clientNIC, 0},
		{ProtoTCP, "192.0.2.128:1", "198.51.101.8:53", clientNIC, 0},
		{ProtoTCP, "192.0.2.128:1", "198.51.101.8:443", clientNIC, 5},
	} {
		src, dst := netip.MustParseAddrPort(c.src), netip.MustParseAddrPort(c.dst)
		f := packet(c.proto, src, dst, wire.SYN, nil)
		var p wire.Packet
		p.Parse(f.Eth())
		if got := b.e.snap.Load().mark(&p, c.nic); got != c.want {
			t.Errorf("%s to %s by NIC %d: mark %d, want %d", c.src, c.dst, c.nic, got, c.want)
		}
	}
	b.e.Update(func(tx *Tx) {
		if got := tx.MarkRules(); !slices.Equal(got, rules) {
			t.Errorf("the rules are %+v", got)
		}
		for _, r := range []Selector{
			{Proto: 1},
			{FirstPort: 2, LastPort: 1},
			{Dst: netip.MustParsePrefix("::ffff:1.2.3.0/120")},
			{Src: netip.MustParsePrefix("::/0"), Dst: netip.MustParsePrefix("0.0.0.0/0")},
		} {
			if e, ok := tx.SetMarkRules([]MarkRule{{r, 1}}).(*Error); !ok || e.Errno != syscall.EINVAL {
				t.Errorf("%+v: %v", r, e)
			}
		}
		if got := tx.MarkRules(); !slices.Equal(got, rules) {
			t.Errorf("a refusal changed the rules to %+v", got)
		}
	})
}

func TestServiceByMark(t *testing.T) {
	b := markBed(t, Options{}, "")
	from, dst := netip.MustParseAddrPort("192.0.2.7:1000"), netip.MustParseAddrPort("198.51.100.33:443")
	server := b.opens(ProtoTCP, "192.0.2.7:1000", "198.51.100.33:443")
	if server.String() != "10.0.0.12:8080" {
		t.Fatalf("went to %v", server)
	}
	v, out := b.in(serverNIC, packet(ProtoTCP, server, from, wire.SYN|wire.ACK, nil))
	if v != forwarded || AddrPort(out[0].pkt.Src, out[0].pkt.SrcPort) != dst || out[0].port != clientNIC {
		t.Fatalf("the answer: %v", v)
	}
	out[0].checksums(t)
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		if b.e.Table().Mark(c) != 7 || c.Virtual != dst.Addr().As16() {
			t.Errorf("connection %+v", c)
		}
		return true
	})
	// A router's complaint about the answer reaches the server.
	var buf [600]byte
	quoted := packet(ProtoTCP, dst, from, wire.ACK, []byte("some payload"))
	n := wire.BuildICMPv4Error(buf[:], [4]byte{192, 0, 2, 254}, 1, 3, 4, 1280, wire.IPv4(quoted.Eth()[wire.EthernetLen:]))
	f := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+n)}
	wire.Ethernet(f.Eth()).SetType(wire.TypeIPv4)
	copy(f.Eth()[wire.EthernetLen:], buf[:n])
	v, out = b.in(clientNIC, f)
	if v != forwarded || AddrPort(out[0].pkt.Dst, 0).Addr() != server.Addr() {
		t.Errorf("the ICMP error: %v (%v)", v, v.Reason)
	}
}

// A mark comes before an address, and a mark without a service is as none.
func TestMarkBeforeAddress(t *testing.T) {
	b := markBed(t, Options{}, "")
	b.marks(MarkRule{Selector{Src: netip.MustParsePrefix("192.0.2.7/32")}, 7}, MarkRule{Selector{Src: netip.MustParsePrefix("192.0.2.8/32")}, 8})
	for src, want := range map[string]string{
		"192.0.2.7:1": "10.0.0.12:8080", "192.0.2.8:1": "10.0.0.11:8080", "192.0.2.9:1": "10.0.0.11:8080",
	} {
		if got := b.opens(ProtoTCP, src, "192.0.2.1:80").String(); got != want {
			t.Errorf("%s went to %s, want %s", src, got, want)
		}
	}
	// No VIP: without a service of its mark it is the host's.
	if v, _ := b.in(clientNIC, packet(ProtoTCP, netip.MustParseAddrPort("192.0.2.8:1"), netip.MustParseAddrPort("198.51.100.1:80"), wire.SYN, nil)); v != passed {
		t.Errorf("a mark of no service: %v", v)
	}
}

// Persistence by mark: one template for all addresses and ports, and the
// packet's port is kept.
func TestPersistenceByMark(t *testing.T) {
	b := markBed(t, Options{}, "-p 100 -M 255.255.255.0")
	first := b.opens(ProtoTCP, "192.0.2.7:1000", "198.51.100.33:443")
	if first.String() != "10.0.0.12:443" {
		t.Errorf("went to %v", first)
	}
	for _, c := range []struct {
		proto uint8
		to    string
		port  uint16
	}{
		{ProtoTCP, "198.51.100.33:80", 80},
		{ProtoTCP, "198.51.100.34:21", 21},
		{ProtoUDP, "198.51.100.35:53", 53},
		{ProtoTCP, "198.51.100.35:8080", 8080},
	} {
		if got := b.opens(c.proto, "192.0.2.99:1000", c.to); got != netip.AddrPortFrom(first.Addr(), c.port) {
			t.Errorf("%s went to %v", c.to, got)
		}
	}
	c := b.template()
	if AddrPort(c.Virtual, c.VirtualPort).String() != "0.0.0.7:0" || c.Proto != 0 || c.DestPort != 0 || c.Mark != 7 || AddrPort(c.Client, 0).Addr().String() != "192.0.2.0" {
		t.Errorf("template %+v", c)
	}
	if d := b.servers(ServiceKey{Mark: 7})["10.0.0.12"]; d.Persistent != 1 || d.Active != 4 || d.Inactive != 1 {
		t.Errorf("the server counts %+v", d)
	}
}

// An answer whose client the rules would mark is an answer all the same.
func TestAnswersAreNotMarked(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-A -f 7 -s rr", "-a -f 7 -r 10.0.0.99:80 -m")
	b.connect()
	b.marks(MarkRule{Selector{}, 7})
	if v, out := b.in(serverNIC, packet(ProtoTCP, rip, client, wire.ACK, nil)); v != forwarded || AddrPort(out[0].pkt.Src, out[0].pkt.SrcPort) != vip {
		t.Errorf("the answer: %v (%v)", v, v.Reason)
	}
}

// A deleted mark service gets its servers back by its mark.
func TestMarkServiceComesBack(t *testing.T) {
	b := markBed(t, Options{}, "")
	server := b.opens(ProtoTCP, "192.0.2.7:1000", "198.51.100.33:443")
	b.establish(server, "192.0.2.7:1000", "198.51.100.33:443")
	ack := func() Verdict {
		v, _ := b.in(clientNIC, packet(ProtoTCP, netip.MustParseAddrPort("192.0.2.7:1000"), netip.MustParseAddrPort("198.51.100.33:443"), wire.ACK, nil))
		return v
	}
	b.command("-D -f 7")
	if v := ack(); v != drop(ServerGone) {
		t.Errorf("deleted: %v (%v)", v, v.Reason)
	}
	b.command("-A -f 8 -s rr", "-a -f 8 -r 10.0.0.12:8080 -m")
	if v := ack(); v != drop(ServerGone) {
		t.Errorf("another mark's server of that address: %v (%v)", v, v.Reason)
	}
	b.command("-A -f 7 -s rr", "-a -f 7 -r 10.0.0.12:8080 -m")
	if v := ack(); v != forwarded {
		t.Errorf("back again: %v (%v)", v, v.Reason)
	}
}

// Where the guard keeps marked packets from the host we answer for it, and
// elsewhere the host does.
func TestMarksAndTheHost(t *testing.T) {
	stray := packet(ProtoTCP, client, netip.MustParseAddrPort("198.51.100.33:443"), wire.ACK, nil)
	fromServer := func() nic.Frame {
		return packet(ProtoTCP, netip.MustParseAddrPort("10.0.0.12:8080"), netip.MustParseAddrPort("198.51.100.33:443"), wire.ACK, nil)
	}
	for _, c := range []struct {
		name    string
		guarded bool
		rule    MarkRule
		frame   nic.Frame
		setup   string
		want    Verdict
	}{
		{"guarded", true, MarkRule{to("198.51.100.0/24"), 7}, stray, "", replied},
		{"not guarded", false, MarkRule{to("198.51.100.0/24"), 7}, stray, "", passed},
		{"too wide to list", true, MarkRule{to("198.51.0.0/16"), 7}, stray, "", replied},
		{"at another NIC", true, MarkRule{Selector{NIC: serverNIC}, 7}, stray, "", passed},
		{"from another source", true, MarkRule{Selector{Src: netip.MustParsePrefix("10.0.0.0/8")}, 7}, stray, "", passed},
		{"without a service", true, MarkRule{to("198.51.100.0/24"), 8}, stray, "", passed},
		{"from a server, without a service", true, MarkRule{to("198.51.100.0/24"), 8}, fromServer(), "-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m", drop(NoConnection)},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := markBed(t, Options{Guarded: c.guarded}, "")
			b.marks(c.rule)
			if c.setup != "" {
				b.command(c.setup)
			}
			f := nic.Frame{Buf: slices.Clone(c.frame.Buf), WireLen: c.frame.WireLen}
			if v, _ := b.in(clientNIC, f); v != c.want {
				t.Errorf("%v (%v), want %v", v, v.Reason, c.want)
			}
		})
	}
}

func TestOwnedByMarks(t *testing.T) {
	all := func(proto uint8, port uint16, addrs ...string) (eps []Endpoint) {
		for _, a := range addrs {
			eps = append(eps, Endpoint{Proto: proto, Port: port, Addr: netip.MustParseAddr(a).As16()})
		}
		return eps
	}
	const tcp, udp = ProtoTCP, ProtoUDP
	nine := netip.MustParsePrefix("198.51.100.9/32")
	for _, c := range []struct {
		name     string
		rules    []MarkRule
		options  string
		server   string
		services []Endpoint
		servers  []Endpoint
		wide     int
	}{
		{"no rule", nil, "", "10.0.0.11:80", nil, nil, 0},
		{"another mark", []MarkRule{{to("198.51.100.9/32"), 8}}, "", "10.0.0.11:80", nil, nil, 0},
		{
			"an address",
			[]MarkRule{{to("198.51.100.9/32"), 7}},
			"", "10.0.0.11:80",
			slices.Concat(all(tcp, 0, "198.51.100.9"), all(udp, 0, "198.51.100.9"), all(ProtoSCTP, 0, "198.51.100.9"),
				all(wire.ProtoESP, 0, "198.51.100.9"), all(wire.ProtoAH, 0, "198.51.100.9")),
			slices.Concat(all(tcp, 80, "10.0.0.11"), all(udp, 80, "10.0.0.11"), all(ProtoSCTP, 80, "10.0.0.11")), 0,
		},
		{
			"a protocol and a port",
			[]MarkRule{{Selector{Dst: nine, Proto: udp, FirstPort: 53, LastPort: 53}, 7}},
			"", "10.0.0.11:0",
			all(udp, 53, "198.51.100.9"),
			slices.Concat(all(udp, 0, "10.0.0.11"), all(wire.ProtoESP, 0, "10.0.0.11"), all(wire.ProtoAH, 0, "10.0.0.11")), 0,
		},
		{
			"persistent",
			[]MarkRule{{Selector{Dst: nine, Proto: tcp, FirstPort: 80, LastPort: 81}, 7}},
			"-p 100", "10.0.0.11:80",
			slices.Concat(all(tcp, 80, "198.51.100.9"), all(tcp, 81, "198.51.100.9")), all(tcp, 0, "10.0.0.11"), 0,
		},
		{
			"a small network",
			[]MarkRule{{Selector{Dst: netip.MustParsePrefix("198.51.100.9/30"), Proto: tcp}, 7}},
			"", "10.0.0.11:80",
			all(tcp, 0, "198.51.100.8", "198.51.100.9", "198.51.100.10", "198.51.100.11"), all(tcp, 80, "10.0.0.11"), 0,
		},
		{
			"after an exemption elsewhere",
			[]MarkRule{{to("203.0.113.0/24"), 0}, {Selector{Dst: nine, Proto: tcp}, 7}},
			"", "10.0.0.11:80",
			all(tcp, 0, "198.51.100.9"), all(tcp, 80, "10.0.0.11"), 0,
		},
		{"after an exemption of a part", []MarkRule{{Selector{FirstPort: 22, LastPort: 22}, 0}, {Selector{Dst: nine, Proto: tcp}, 7}}, "", "10.0.0.11:80", nil, all(tcp, 80, "10.0.0.11"), 2},
		{"by source", []MarkRule{{Selector{Src: nine, Dst: nine, Proto: tcp}, 7}}, "", "10.0.0.11:80", nil, all(tcp, 80, "10.0.0.11"), 1},
		{"by NIC", []MarkRule{{Selector{Dst: nine, Proto: tcp, NIC: 2}, 7}}, "", "10.0.0.11:80", nil, all(tcp, 80, "10.0.0.11"), 1},
		{"everything", []MarkRule{{Selector{Proto: tcp}, 7}}, "", "10.0.0.11:80", nil, all(tcp, 80, "10.0.0.11"), 1},
		{"all of IPv4", []MarkRule{{Selector{Dst: netip.MustParsePrefix("0.0.0.0/0"), Proto: tcp}, 7}}, "", "10.0.0.11:80", nil, all(tcp, 80, "10.0.0.11"), 1},
		{"many ports", []MarkRule{{Selector{Dst: nine, Proto: tcp, FirstPort: 1, LastPort: 1025}, 7}}, "", "10.0.0.11:80", nil, all(tcp, 80, "10.0.0.11"), 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, Options{})
			b.command("-C", "-A -f 7 -s rr "+c.options, "-a -f 7 -r "+c.server+" -m")
			b.marks(c.rules...)
			order := func(a, b Endpoint) int {
				return cmp.Or(slices.Compare(a.Addr[:], b.Addr[:]), cmp.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
			}
			o := b.e.Owned()
			for _, list := range [][]Endpoint{o.Services, o.Servers, c.services, c.servers} {
				slices.SortFunc(list, order)
			}
			if !slices.Equal(o.Services, c.services) || !slices.Equal(o.Servers, c.servers) || len(o.Wide) != c.wide {
				t.Errorf("owned %+v", o)
			}
			// What a command is about to own is told alike.
			key := ServerKey{Addr: netip.MustParseAddrPort(c.server).Addr().As16(), Port: netip.MustParseAddrPort(c.server).Port()}
			var spec ServiceSpec
			b.e.Update(func(tx *Tx) {
				s, err := tx.Service(ServiceKey{Mark: 7})
				if err != nil {
					t.Fatal(err)
				}
				spec = s.ServiceSpec
			})
			var soon Endpoints
			b.command("-C")
			b.marks()
			err := b.e.Transact(func(tx *Tx) error {
				return errors.Join(tx.AddService(spec), tx.AddServer(spec.Key, ServerSpec{Key: key}), tx.SetMarkRules(c.rules))
			}, func(e Endpoints) error { soon = e; return nil })
			if err != nil {
				t.Fatal(err)
			}
			slices.SortFunc(soon.Services, order)
			slices.SortFunc(soon.Servers, order)
			if !slices.Equal(soon.Services, o.Services) || !slices.Equal(soon.Servers, o.Servers) || !slices.Equal(soon.Wide, o.Wide) {
				t.Errorf("told %+v, owned %+v", soon, o)
			}
		})
	}
}

func TestMarkServiceCommands(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-A -f 7 -s rr", "-A -f 8 -s rr")
	b.e.Update(func(tx *Tx) {
		// Of a mark's service nothing else counts.
		key := ServiceKey{Mark: 7, Proto: ProtoUDP, Port: 5, Addr: Addr{1}}
		if s, err := tx.Service(key); err != nil || s.Key != (ServiceKey{Mark: 7}) {
			t.Errorf("%+v, %v", s.Key, err)
		}
		if e, ok := tx.AddService(ServiceSpec{Key: key, Scheduler: "rr"}).(*Error); !ok || e.Errno != syscall.EEXIST {
			t.Errorf("added twice: %v", e)
		}
		if e, ok := tx.AddService(ServiceSpec{Key: ServiceKey{Mark: 7, V6: true}, Scheduler: "rr"}).(*Error); !ok || e.Errno != syscall.EINVAL {
			t.Errorf("IPv6 without a netmask: %v", e)
		}
		if err := tx.AddService(ServiceSpec{Key: ServiceKey{Mark: 7, V6: true}, Scheduler: "rr", Netmask: 128}); err != nil {
			t.Errorf("IPv6: %v", err)
		}
	})
	for k, want := range map[ServiceKey]string{
		{Mark: 7}: "fwmark 7", {Mark: 7, V6: true}: "fwmark 7 ipv6", web: "tcp 192.0.2.1:80",
	} {
		if got := k.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	b.command("-C")
}

func TestMarksAllocateNothing(t *testing.T) {
	b := markBed(t, Options{Guarded: true}, "-p 100")
	dst := netip.MustParseAddrPort("198.51.100.33:443")
	b.opens(ProtoTCP, "192.0.2.7:1000", dst.String())
	w := b.workers[clientNIC]
	frames := []nic.Frame{
		packet(ProtoTCP, netip.MustParseAddrPort("192.0.2.7:1000"), dst, wire.ACK, []byte("data")),
		packet(ProtoTCP, client, netip.MustParseAddrPort("203.0.113.1:80"), wire.ACK, nil),
		packet(ProtoTCP, client, dst, wire.ACK, nil),
	}
	fresh := make([][]byte, len(frames))
	for i := range frames {
		fresh[i] = slices.Clone(frames[i].Buf)
	}
	batch := nic.Batch{N: len(frames)}
	run := func() {
		for i := range frames {
			copy(frames[i].Buf, fresh[i])
			batch.Frames[i] = frames[i]
		}
		b.now += 1e6
		w.Process(&batch, b.now)
		w.Commit()
	}
	run()
	if n := testing.AllocsPerRun(200, run); n != 0 {
		t.Errorf("%v allocations a batch", n)
	}
	if l := w.Ledger(); l.Forwarded < 200 || l.Replied < 200 || l.Passed < 200 {
		t.Errorf("ledger %+v", l)
	}
}
