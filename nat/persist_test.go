package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// persistBed is a director with a persistent service of three servers on TCP
// port 80; rr picks .13, .12, .11 in turn.
func persistBed(t testing.TB, options string) *bed {
	b := newBed(t, Options{})
	b.command("-C", "-A -t 192.0.2.1:80 -s rr "+options)
	for i := 11; i <= 13; i++ {
		b.command(fmt.Sprintf("-a -t 192.0.2.1:80 -r 10.0.0.%d:8080 -m", i))
	}
	return b
}

// seconds lets time pass as in a running director: timers are looked at every
// second.
func (b *bed) seconds(n int) {
	for range n {
		b.now += 1e9
		b.e.Expire(b.now, 1<<20)
	}
}

// opens sends a packet that begins a connection and returns the server it went
// to.
func (b *bed) opens(proto uint8, from, to string) netip.AddrPort {
	b.t.Helper()
	v, out := b.in(clientNIC, packet(proto, netip.MustParseAddrPort(from), netip.MustParseAddrPort(to), wire.SYN, nil))
	if v != forwarded {
		b.t.Fatalf("%s to %s: %v (%v)", from, to, v, v.Reason)
	}
	return AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort)
}

// establish has the server answer and the client acknowledge.
func (b *bed) establish(server netip.AddrPort, from, to string) {
	b.t.Helper()
	c, v := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	b.in(serverNIC, packet(ProtoTCP, server, c, wire.SYN|wire.ACK, nil))
	if got, _ := b.in(clientNIC, packet(ProtoTCP, c, v, wire.ACK, nil)); got != forwarded {
		b.t.Fatalf("ACK: %v (%v)", got, got.Reason)
	}
}

// templates returns copies of all templates in the table.
func (b *bed) templates() (all []conntrack.Copy) {
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		if c.Flags&conntrack.Template != 0 {
			all = append(all, b.e.Table().Copy(c))
		}
		return true
	})
	return all
}

func (b *bed) template() conntrack.Copy {
	b.t.Helper()
	all := b.templates()
	if len(all) != 1 {
		b.t.Fatalf("%d templates, want one", len(all))
	}
	return all[0]
}

// servers returns what a service's servers count, by address.
func (b *bed) servers(k ServiceKey) map[string]ServerInfo {
	b.t.Helper()
	all := map[string]ServerInfo{}
	b.e.Update(func(tx *Tx) {
		s, err := tx.Service(k)
		if err != nil {
			b.t.Fatal(err)
		}
		for _, d := range s.Servers {
			all[AddrPort(d.Key.Addr, 0).Addr().String()] = d
		}
	})
	return all
}

var web = ServiceKey{Proto: ProtoTCP, Addr: vip.Addr().As16(), Port: 80}

func TestTemplateIsRenewedByNewConnectionsOnly(t *testing.T) {
	b := persistBed(t, "-p 100")
	server := b.opens(ProtoTCP, "192.0.2.7:1000", "192.0.2.1:80")
	made := b.now
	if c := b.template(); c.Expires != made+100e9 || c.ClientPort != 0 || c.VirtualPort != 80 || c.DestPort != 8080 || c.Proto != ProtoTCP {
		t.Fatalf("template %+v", c)
	}
	b.seconds(50)
	b.establish(server, "192.0.2.7:1000", "192.0.2.1:80")
	b.in(clientNIC, packet(ProtoTCP, netip.MustParseAddrPort("192.0.2.7:1000"), vip, wire.ACK, []byte("data")))
	if c := b.template(); c.Expires != made+100e9 {
		t.Errorf("data moved the template's timer by %v", time.Duration(c.Expires-made-100e9))
	}
	b.seconds(10)
	if got := b.opens(ProtoTCP, "192.0.2.7:1001", "192.0.2.1:80"); got != server {
		t.Errorf("second connection to %v, the first to %v", got, server)
	}
	if c := b.template(); c.Expires != b.now+100e9 {
		t.Errorf("a new connection did not renew the template")
	}
	if d := b.servers(web)[server.Addr().String()]; d.Persistent != 1 || d.Active != 2 || d.Inactive != 0 || d.Counters.Conns != 2 {
		t.Errorf("the server counts %+v", d)
	}
}

// A template that still has connections when its time has come lives on by 60
// seconds at a time, and keeps that timeout even when it is used again.
func TestTemplateOutlivesItsTimeoutWithItsConnections(t *testing.T) {
	b := persistBed(t, "-p 100")
	server := b.opens(ProtoTCP, "192.0.2.7:1000", "192.0.2.1:80")
	b.establish(server, "192.0.2.7:1000", "192.0.2.1:80")
	b.seconds(101)
	c := b.template()
	if c.Timeout() != 60e9 || c.Expires > b.now+60e9 || c.Expires < b.now+58e9 {
		t.Fatalf("timeout %v, %v left", time.Duration(c.Timeout()), time.Duration(c.Expires-b.now))
	}
	b.seconds(30)
	if got := b.opens(ProtoTCP, "192.0.2.7:1001", "192.0.2.1:80"); got != server {
		t.Errorf("went to %v, not %v", got, server)
	}
	if c := b.template(); c.Expires != b.now+60e9 {
		t.Errorf("renewed for %v, want 60 s", time.Duration(c.Expires-b.now))
	}
	b.seconds(59) // the second connection, never answered, ends with SYN_RECV's 60 s
	b.in(serverNIC, packet(ProtoTCP, server, netip.MustParseAddrPort("192.0.2.7:1000"), wire.RST, nil))
	b.seconds(125)
	if n := b.e.Table().Len(); n != 0 {
		t.Fatalf("%d entries are left", n)
	}
	if d := b.servers(web)[server.Addr().String()]; d.Persistent != 0 || d.Active != 0 || d.Inactive != 0 {
		t.Errorf("the server still counts %+v", d)
	}
	if got := b.opens(ProtoTCP, "192.0.2.7:1002", "192.0.2.1:80"); got == server {
		t.Errorf("rr picked %v again", got)
	}
}

func TestTemplateIsAssuredByAnAnswer(t *testing.T) {
	state := func(b *bed) (name string) {
		b.e.Table().Range(func(c *conntrack.Conn) bool {
			if c.Flags&conntrack.Template != 0 {
				name = b.stateOf(c)
			}
			return true
		})
		return name
	}
	t.Run("tcp", func(t *testing.T) {
		b := persistBed(t, "-p 100")
		server := b.opens(ProtoTCP, "192.0.2.7:1000", "192.0.2.1:80")
		if got := state(b); got != "NONE" {
			t.Errorf("%s after the SYN", got)
		}
		b.in(serverNIC, packet(ProtoTCP, server, netip.MustParseAddrPort("192.0.2.7:1000"), wire.SYN|wire.ACK, nil))
		if got := state(b); got != "NONE" {
			t.Errorf("%s after the SYN+ACK", got)
		}
		b.in(clientNIC, packet(ProtoTCP, netip.MustParseAddrPort("192.0.2.7:1000"), vip, wire.ACK, nil))
		if got := state(b); got != "ASSURED" {
			t.Errorf("%s once established", got)
		}
	})
	t.Run("udp", func(t *testing.T) {
		b := newBed(t, Options{})
		b.command("-A -u 192.0.2.1:53 -s rr -p 100", "-a -u 192.0.2.1:53 -r 10.0.0.11:53 -m")
		server := b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53")
		b.opens(ProtoUDP, "192.0.2.7:1000", "192.0.2.1:53")
		if got := state(b); got != "NONE" {
			t.Errorf("%s before the answer", got)
		}
		b.in(serverNIC, packet(ProtoUDP, server, netip.MustParseAddrPort("192.0.2.7:1000"), 0, nil))
		if got := state(b); got != "ASSURED" {
			t.Errorf("%s after the answer", got)
		}
	})
}

// Which servers a template still brings connections to.
func TestTemplatesOfServersThatChange(t *testing.T) {
	for _, c := range []struct {
		name   string
		expire bool // expire_quiescent_template
		change []string
		stays  bool
	}{
		{name: "nothing", stays: true},
		{name: "weight 0", change: []string{"-e -t 192.0.2.1:80 -r 10.0.0.13:8080 -m -w 0"}, stays: true},
		{name: "weight 0, expire_quiescent_template", expire: true, change: []string{"-e -t 192.0.2.1:80 -r 10.0.0.13:8080 -m -w 0"}},
		{name: "expire_quiescent_template alone", expire: true, stays: true},
		{name: "overloaded", change: []string{"-e -t 192.0.2.1:80 -r 10.0.0.13:8080 -m -x 1"}, stays: true},
		{name: "deleted", change: []string{"-d -t 192.0.2.1:80 -r 10.0.0.13:8080"}},
		{name: "deleted and added again", change: []string{"-d -t 192.0.2.1:80 -r 10.0.0.13:8080", "-a -t 192.0.2.1:80 -r 10.0.0.13:8080 -m"}, stays: true},
		{name: "service deleted and added again", change: []string{"-C", "-A -t 192.0.2.1:80 -s rr -p 50", "-a -t 192.0.2.1:80 -r 10.0.0.13:8080 -m", "-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m"}, stays: true},
		{name: "no longer persistent", change: []string{"-E -t 192.0.2.1:80 -s rr"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := persistBed(t, "-p 100")
			b.set(func(s *Settings) { s.ExpireQuiescentTemplate = c.expire })
			first := b.opens(ProtoTCP, "192.0.2.7:1000", "192.0.2.1:80")
			if first.Addr().String() != "10.0.0.13" {
				t.Fatalf("rr begins with %v", first)
			}
			b.command(c.change...)
			for i := range 3 {
				got := b.opens(ProtoTCP, fmt.Sprintf("192.0.2.7:%d", 2000+i), "192.0.2.1:80")
				if c.stays && got != first {
					t.Fatalf("connection %d went to %v", i, got)
				}
				if !c.stays && got != first {
					return
				}
			}
			if !c.stays {
				t.Error("the template still brings connections to the server")
			}
		})
	}
}

func TestRejectedTemplateDiesByItsOwnTimer(t *testing.T) {
	b := persistBed(t, "-p 100")
	b.opens(ProtoTCP, "192.0.2.7:1000", "192.0.2.1:80")
	old := b.template()
	b.command("-d -t 192.0.2.1:80 -r 10.0.0.13:8080")
	b.seconds(10)
	second := b.opens(ProtoTCP, "192.0.2.7:1001", "192.0.2.1:80")
	all := b.templates()
	if len(all) != 2 {
		t.Fatalf("%d templates", len(all))
	}
	for _, c := range all {
		switch c.Dest {
		case old.Dest:
			if c.VirtualPort != 65535 || c.DestPort != 65535 || c.Expires != old.Expires {
				t.Errorf("the rejected template: %+v", c)
			}
		default:
			if c.VirtualPort != 80 || c.Dest != second.Addr().As16() {
				t.Errorf("the new template: %+v", c)
			}
		}
	}
	// Its server is kept as long as the template is, and found when it returns;
	// the template is not.
	if n := len(b.e.trash); n != 1 {
		t.Fatalf("%d servers in the trash", n)
	}
	for _, d := range b.e.trash {
		if !d.referred() {
			t.Fatal("nothing refers to the deleted server")
		}
	}
	b.command("-a -t 192.0.2.1:80 -r 10.0.0.13:8080 -m")
	if got := b.servers(web)["10.0.0.13"]; got.Persistent != 1 || got.Active != 1 {
		t.Errorf("the server that came back counts %+v", got)
	}
	if got := b.opens(ProtoTCP, "192.0.2.7:1002", "192.0.2.1:80"); got != second {
		t.Errorf("went to %v, not %v", got, second)
	}
}

// A deleted server is kept for its templates as for its connections.
func TestTemplateKeepsItsServer(t *testing.T) {
	b := persistBed(t, "-p 1000")
	b.opens(ProtoTCP, "192.0.2.7:1000", "192.0.2.1:80")
	b.command("-C")
	tick := func(seconds int) {
		for range seconds / 10 {
			b.seconds(10)
			b.e.Tick(b.now)
		}
	}
	tick(900) // the connection ended long ago
	if n := len(b.e.trash); n != 1 || len(b.e.free) != 2 {
		t.Fatalf("%d deleted servers are kept, %d were freed", n, len(b.e.free))
	}
	tick(500)
	if n := len(b.e.trash); n != 0 || len(b.e.free) != 3 {
		t.Errorf("%d deleted servers are kept, %d were freed", n, len(b.e.free))
	}
}

// The key and the server port of templates and of the connections they make,
// by service and packet.
func TestTemplateKeys(t *testing.T) {
	const c1, c2 = "198.51.100.7:1000", "198.51.100.99:1000"
	for _, c := range []struct {
		name      string
		service   string // of ipvsadm
		server    string // its port
		proto     uint8
		first     string // VIP and port of the first packet
		port      uint16 // that it went to
		key       uint16 // the template's virtual port
		dport     uint16 // the template's server port
		from      string // client of the second packet
		second    string // its VIP and port
		same      bool   // whether the first's template serves it
		port2     uint16 // where it went
		templates int
	}{
		{"port", "-t 192.0.2.1:80 -p", "8080", ProtoTCP, "192.0.2.1:80", 8080, 80, 8080, c1, "192.0.2.1:80", true, 8080, 1},
		{"another client", "-t 192.0.2.1:80 -p", "8080", ProtoTCP, "192.0.2.1:80", 8080, 80, 8080, c2, "192.0.2.1:80", false, 8080, 2},
		{"its network", "-t 192.0.2.1:80 -M 255.255.255.0 -p", "8080", ProtoTCP, "192.0.2.1:80", 8080, 80, 8080, c2, "192.0.2.1:80", true, 8080, 1},
		{"a mask between", "-t 192.0.2.1:80 -M 255.255.255.192 -p", "8080", ProtoTCP, "192.0.2.1:80", 8080, 80, 8080, c2, "192.0.2.1:80", false, 8080, 2},
		{"all clients", "-t 192.0.2.1:80 -M 0.0.0.0 -p", "8080", ProtoTCP, "192.0.2.1:80", 8080, 80, 8080, "203.0.113.1:5", "192.0.2.1:80", true, 8080, 1},
		{"server port 0", "-t 192.0.2.1:80 -p", "0", ProtoTCP, "192.0.2.1:80", 80, 80, 0, c1, "192.0.2.1:80", true, 80, 1},
		{"all ports", "-t 192.0.2.1:0 -p", "0", ProtoTCP, "192.0.2.1:80", 80, 0, 0, c1, "192.0.2.1:443", true, 443, 1},
		{"all ports, a server's port counts for nothing", "-t 192.0.2.1:0 -p", "8080", ProtoTCP, "192.0.2.1:80", 80, 0, 0, c1, "192.0.2.1:443", true, 443, 1},
		{"all ports of UDP", "-u 192.0.2.1:0 -p", "0", ProtoUDP, "192.0.2.1:53", 53, 0, 0, c1, "192.0.2.1:123", true, 123, 1},
		{"FTP", "-t 192.0.2.1:21 -p", "2121", ProtoTCP, "192.0.2.1:21", 2121, 0, 0, c1, "192.0.2.1:21", true, 2121, 1},
		{"FTP, passive data", "-t 192.0.2.1:21 -p", "2121", ProtoTCP, "192.0.2.1:21", 2121, 0, 0, c1, "192.0.2.1:1024", true, 1024, 1},
		{"FTP, data port", "-t 192.0.2.1:21 -p", "21", ProtoTCP, "192.0.2.1:20", 20, 0, 0, c1, "192.0.2.1:50000", true, 50000, 1},
		{"UDP port 21 is an FTP port to templates too", "-u 192.0.2.1:21 -p", "2121", ProtoUDP, "192.0.2.1:21", 2121, 0, 0, c1, "192.0.2.1:21", true, 2121, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, Options{})
			b.command("-C", "-A "+c.service+" 100 -s rr")
			name := strings.Join(strings.Fields(c.service)[:2], " ")
			for i := 11; i <= 13; i++ {
				b.command(fmt.Sprintf("-a %s -r 10.0.0.%d:%s -m", name, i, c.server))
			}
			got := b.opens(c.proto, c1, c.first)
			if got.Port() != c.port {
				t.Errorf("first connection to port %d, want %d", got.Port(), c.port)
			}
			if m := b.template(); m.VirtualPort != c.key || m.DestPort != c.dport || m.Proto != c.proto {
				t.Errorf("template of port %d for server port %d, want %d and %d", m.VirtualPort, m.DestPort, c.key, c.dport)
			}
			again := b.opens(c.proto, c.from, c.second)
			if (again.Addr() == got.Addr()) != c.same || again.Port() != c.port2 {
				t.Errorf("second connection to %v, the first to %v", again, got)
			}
			if n := len(b.templates()); n != c.templates {
				t.Errorf("%d templates, want %d", n, c.templates)
			}
		})
	}
}

// Packets that only look as if a service of other ports were theirs.
func TestServicesOfOtherPorts(t *testing.T) {
	for _, c := range []struct {
		name    string
		service string
		to      string
		guarded bool
		want    Verdict
		icmp    [2]uint8
	}{
		{"privileged port of an FTP address", "-t 192.0.2.1:21 -p 100", "192.0.2.1:1023", true, passed, [2]uint8{}},
		{"FTP without persistence leaves data to the host", "-t 192.0.2.1:21", "192.0.2.1:1024", false, passed, [2]uint8{}},
		{"all ports without persistence", "-t 192.0.2.1:0", "192.0.2.1:80", false, replied, [2]uint8{3, 3}},
		{"another address", "-t 192.0.2.1:0 -p 100", "192.0.2.77:80", false, passed, [2]uint8{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t, Options{Guarded: c.guarded})
			b.command("-C", "-A "+c.service+" -s rr")
			v, out := b.in(clientNIC, packet(ProtoTCP, client, netip.MustParseAddrPort(c.to), wire.SYN, nil))
			if v != c.want {
				t.Fatalf("%v (%v), want %v", v, v.Reason, c.want)
			}
			if v == replied && [2]uint8{out[0].pkt.ICMPType, out[0].pkt.ICMPCode} != c.icmp {
				t.Errorf("answer %+v", out[0].pkt)
			}
		})
	}
}

// What the guard is told about services whose servers answer from many ports.
func TestOwnedPorts(t *testing.T) {
	for _, c := range []struct {
		service, server string
		vports          []uint16
		rport           uint16
		wide            int
	}{
		{"-t 192.0.2.1:80 -s rr", "10.0.0.11:8080", []uint16{80}, 8080, 0},
		{"-t 192.0.2.1:80 -s rr", "10.0.0.11:0", []uint16{80}, 80, 0},
		{"-t 192.0.2.1:80 -s rr -p 100", "10.0.0.11:8080", []uint16{80}, 8080, 0},
		{"-t 192.0.2.1:0 -s rr -p 100", "10.0.0.11:8080", []uint16{0}, 0, 0},
		{"-t 192.0.2.1:21 -s rr", "10.0.0.11:2121", []uint16{20, 21}, 0, 1},
		{"-t 192.0.2.1:21 -s rr -p 100", "10.0.0.11:2121", []uint16{20, 21}, 0, 1},
	} {
		b := newBed(t, Options{})
		name := strings.Join(strings.Fields(c.service)[:2], " ")
		b.command("-C", "-A "+c.service, fmt.Sprintf("-a %s -r %s -m", name, c.server))
		o := b.e.Owned()
		var vports []uint16
		for _, ep := range o.Services {
			vports = append(vports, ep.Port)
		}
		slices.Sort(vports)
		if !slices.Equal(vports, c.vports) || len(o.Servers) != 1 || o.Servers[0].Port != c.rport || len(o.Wide) != c.wide {
			t.Errorf("%s, %s: owned %+v", c.service, c.server, o)
		}
	}
}

// A persistent service is hammered by several workers while timers run out,
// servers come and go, and connections of those that went are swept away; in the
// end nothing may be left of it.
func TestPersistenceUnderConcurrency(t *testing.T) {
	b := persistBed(t, "-p 5 -M 255.255.255.240")
	const workers, packets = 3, 3000
	var wg sync.WaitGroup
	for n := range workers {
		w := b.e.NewWorker(clientNIC)
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewPCG(uint64(n), 1))
			now := int64(1e9)
			for range packets {
				now += 1e7
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(rnd.IntN(64))}), uint16(1000+rnd.IntN(3)))
				flags := []uint8{wire.SYN, wire.ACK, wire.RST, wire.FIN | wire.ACK}[rnd.IntN(4)]
				batch := nic.Batch{N: 1}
				batch.Frames[0] = packet(ProtoTCP, from, vip, flags, nil)
				w.Process(&batch, now)
				w.Commit()
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		now := int64(1e9)
		for i := range 300 {
			now += 1e8
			b.e.Expire(now, 1<<20)
			b.e.Tick(now)
			if i%10 == 0 {
				b.set(func(s *Settings) { s.ExpireNodestConn = i%20 == 0 })
				b.command("-d -t 192.0.2.1:80 -r 10.0.0.12:8080", "-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m")
			}
		}
	}()
	wg.Wait()
	b.now = 40e9
	b.seconds(1100)
	if n := b.e.Table().Len(); n != 0 {
		t.Errorf("%d entries are left", n)
	}
	for name, d := range b.servers(web) {
		if d.Persistent != 0 || d.Active != 0 || d.Inactive != 0 {
			t.Errorf("%s still counts %+v", name, d)
		}
	}
}

func TestPersistenceAllocatesNothing(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-A -u 192.0.2.1:53 -s wlc -p 10", "-a -u 192.0.2.1:53 -r 10.0.0.11:53 -m")
	w := b.workers[clientNIC]
	dns := netip.MustParseAddrPort("192.0.2.1:53")
	batch := nic.Batch{N: 1}
	n := 0
	fresh := packet(ProtoUDP, client, dns, 0, nil)
	f := packet(ProtoUDP, client, dns, 0, nil)
	run := func() {
		copy(f.Buf, fresh.Buf)
		n++
		wire.UDP(f.Eth()[34:]).Encode(&wire.UDPFields{SrcPort: uint16(n), DstPort: 53, Length: 8})
		ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
		ip.SetSrc([4]byte{192, 0, 2, byte(100 + n/2%100)}) // every other one finds its template
		batch.Frames[0] = f
		b.now += 1e6
		w.Process(&batch, b.now)
		w.Commit()
		if n%64 == 0 { // make room, so that no new memory for records is due
			b.now += 400e9
			b.e.Expire(b.now, 1<<20)
		}
	}
	for range 20000 {
		run()
	}
	before := b.e.Total().Conns
	if a := testing.AllocsPerRun(2000, run); a != 0 {
		t.Errorf("%v allocations a connection", a)
	}
	if after := b.e.Total().Conns; after-before < 2000 {
		t.Errorf("only %d connections were made", after-before)
	}
}

// TestPersistenceModel plays random clients of a persistent UDP service and
// compares with the rule, told in a few lines: which server, when a template
// ends, and what is counted.
func TestPersistenceModel(t *testing.T) {
	var prolonged, ended int
	for seed := range uint64(20) {
		p, e := modelRun(t, seed)
		prolonged, ended = prolonged+p, ended+e
	}
	if prolonged < 20 || ended < 20 {
		t.Errorf("only %d templates were prolonged and %d ended", prolonged, ended)
	}
}

type modelTemplate struct {
	server           string
	expires, timeout int64
}

func modelRun(t *testing.T, seed uint64) (prolonged, ended int) {
	rnd := rand.New(rand.NewPCG(seed, 7))
	timeout := int64(20 + rnd.IntN(400))
	b := newBed(t, Options{})
	b.command("-C", fmt.Sprintf("-A -u 192.0.2.1:53 -s rr -p %d", timeout))
	for i := 11; i <= 13; i++ {
		b.command(fmt.Sprintf("-a -u 192.0.2.1:53 -r 10.0.0.%d:53 -m", i))
	}
	order := []string{"10.0.0.13", "10.0.0.12", "10.0.0.11"}
	next := 0
	templates := map[int]*modelTemplate{}
	type flow struct{ client, port int }
	conns := map[flow]int64{} // when they end
	children := func(c int) (n int) {
		for f := range conns {
			if f.client == c {
				n++
			}
		}
		return n
	}
	const clients = 4
	for step := range 1500 {
		if rnd.IntN(3) == 0 {
			f := flow{1 + rnd.IntN(clients), 1000 + rnd.IntN(2)}
			got := b.opens(ProtoUDP, fmt.Sprintf("192.0.2.%d:%d", 100+f.client, f.port), "192.0.2.1:53")
			m := templates[f.client]
			if _, ok := conns[f]; !ok {
				if m == nil {
					m = &modelTemplate{server: order[next%3], timeout: timeout * 1e9}
					templates[f.client] = m
					next++
				}
				m.expires = b.now + m.timeout
				if got.Addr().String() != m.server {
					t.Fatalf("seed %d, step %d: client %d went to %v, want %s", seed, step, f.client, got, m.server)
				}
			}
			conns[f] = b.now + 300e9
		}
		b.now += int64(1 + rnd.IntN(20e9))
		// Timers may fire a tick late: look at a time when none is just due.
		const tick = 1e8
		for just := true; just; {
			just = false
			for _, at := range conns {
				just = just || at <= b.now && at > b.now-tick
			}
			for _, m := range templates {
				just = just || m.expires <= b.now && m.expires > b.now-tick
			}
			if just {
				b.now += tick
			}
		}
		b.e.Expire(b.now, 1<<20)
		gone := map[int]bool{}
		for f, at := range conns {
			if at <= b.now {
				delete(conns, f)
				gone[f.client] = true
			}
		}
		real := map[int]conntrack.Copy{}
		for _, c := range b.templates() {
			real[int(c.Client[15])-100] = c
		}
		for c, m := range templates {
			r, there := real[c]
			if m.expires <= b.now {
				// A last connection that ended at the same time may have been
				// looked at first or last.
				last := gone[c] && children(c) == 0
				switch {
				case children(c) > 0 || last && there:
					if !there || r.Timeout() != 60e9 || r.Expires != b.now+60e9 {
						t.Fatalf("seed %d, step %d: template of client %d with connections: there %v, %+v at %d", seed, step, c, there, r, b.now)
					}
					m.timeout, m.expires = 60e9, r.Expires
					prolonged++
				default:
					delete(templates, c)
					ended++
				}
			}
			if m, ok := templates[c]; ok != there || ok && m.expires != r.Expires {
				t.Fatalf("seed %d, step %d: template of client %d: want %v %+v, there %v %+v", seed, step, c, ok, m, there, r)
			}
		}
		if n := b.e.Table().Len(); n != len(conns)+len(templates) {
			t.Fatalf("seed %d, step %d: %d entries, want %d connections and %d templates", seed, step, n, len(conns), len(templates))
		}
	}
	return prolonged, ended
}
