package nat

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// lifeBed is a director with a TCP service, a UDP one and a persistent TCP one, of
// the servers 10.0.0.11 and .12 each, ports 8080.
type lifeBed struct {
	*bed
	keys [TrafficClasses]ServiceKey // of the service that shows the class
}

func lifeServices() (keys [TrafficClasses]ServiceKey) {
	keys[Established] = web
	keys[NewTCP] = web
	keys[UDPFlow] = ServiceKey{Proto: ProtoUDP, Addr: vip.Addr().As16(), Port: 53}
	keys[PersistentClient] = ServiceKey{Proto: ProtoTCP, Addr: vip.Addr().As16(), Port: 443}
	return keys
}

func newLifeBed(t testing.TB) *lifeBed {
	b := &lifeBed{newBed(t, Options{Guarded: true}), lifeServices()}
	b.command("-C")
	for _, s := range []string{"-t 192.0.2.1:80", "-u 192.0.2.1:53", "-t 192.0.2.1:443"} {
		more := ""
		if strings.HasSuffix(s, "443") {
			more = " -p 3600"
		}
		b.command("-A "+s+" -s rr"+more, "-a "+s+" -r 10.0.0.11:8080 -m", "-a "+s+" -r 10.0.0.12:8080 -m")
	}
	return b
}

// segment makes a TCP segment with these numbers.
func segment(src, dst netip.AddrPort, flags uint8, seq, ack uint32, payload string) nic.Frame {
	f := packet(ProtoTCP, src, dst, flags, []byte(payload))
	ip := wire.IPv4(f.Eth()[wire.EthernetLen:])
	tcp := wire.TCP(ip.Payload())
	binary.BigEndian.PutUint32(tcp[4:], seq)
	binary.BigEndian.PutUint32(tcp[8:], ack)
	tcp.SetChecksum(0)
	tcp.SetChecksum(^wire.Fold(wire.Sum(tcp, wire.PseudoSum4(ip.Src(), ip.Dst(), ProtoTCP, len(tcp)))))
	return f
}

func (b *lifeBed) update(f func(tx *Tx) error) {
	b.t.Helper()
	b.e.Update(func(tx *Tx) {
		if err := f(tx); err != nil {
			b.t.Fatal(err)
		}
	})
}

func (b *lifeBed) life(k ServiceKey, p LifePolicy) {
	b.t.Helper()
	b.update(func(tx *Tx) error { return tx.SetLife(k, p) })
}

// befall has the event happen to a server of the service.
func (b *lifeBed) befall(k ServiceKey, server netip.AddrPort, e LifeEvent) {
	b.t.Helper()
	key := ServerKey{server.Addr().As16(), server.Port()}
	b.update(func(tx *Tx) error {
		switch e {
		case Drain:
			return tx.EditServer(k, ServerSpec{Key: key, Method: conntrack.Masq})
		case Down:
			return tx.MarkServer(k, key, true)
		}
		return tx.DeleteServer(k, key)
	})
}

// counts returns what policies did to a server, which may be removed, and checks
// that it is what they did to the service.
func (b *lifeBed) counts(k ServiceKey, server netip.AddrPort) (c LifeCounters) {
	b.t.Helper()
	b.update(func(tx *Tx) error {
		s, err := tx.Service(k)
		for _, d := range append(s.Servers, s.Removed...) {
			if AddrPort(d.Key.Addr, d.Key.Port) == server {
				c = d.LifeCounts
			}
		}
		if s.LifeCounts != c && len(s.Servers)+len(s.Removed) == 2 {
			b.t.Errorf("the service counts %+v, the server %+v", s.LifeCounts, c)
		}
		return err
	})
	return c
}

// seen is what became of a frame, in words.
func (b *lifeBed) seen(at int, f nic.Frame) string {
	b.t.Helper()
	v, out := b.in(at, f)
	if v.Kind == Dropped {
		return v.Reason.String()
	}
	if len(out) == 0 {
		b.t.Fatalf("verdict %v, and no frame left", v)
	}
	var words []string
	for i := range out {
		o := &out[i]
		o.checksums(b.t)
		src, dst := AddrPort(o.pkt.Src, o.pkt.SrcPort), AddrPort(o.pkt.Dst, o.pkt.DstPort)
		to := map[bool]string{true: "server", false: "client"}[o.port == serverNIC]
		switch {
		case v.Kind == Forward:
			words = append(words, fmt.Sprintf("%s > %s", src, dst))
		case o.pkt.Proto == wire.ProtoICMP:
			words = append(words, fmt.Sprintf("%s icmp %d/%d", to, o.pkt.ICMPType, o.pkt.ICMPCode))
		default:
			t := wire.TCP(o.Eth()[o.pkt.L4:])
			if t.Flags()&wire.RST == 0 {
				b.t.Errorf("the answer is no reset: %+v", o.pkt)
			}
			ack := ""
			if t.Flags()&wire.ACK != 0 {
				ack = fmt.Sprintf(" ack %d", t.Ack())
			}
			words = append(words, fmt.Sprintf("%s > %s rst %d%s", src, dst, t.Seq(), ack))
		}
	}
	return strings.Join(words, ", ")
}

// The packets of the tables below: from port 40000 of the client.
func (b *lifeBed) syn(k ServiceKey, port uint16) string {
	return b.seen(clientNIC, segment(addrPort(client.Addr(), port), AddrPort(k.Addr, k.Port), wire.SYN, 100, 0, ""))
}

func (b *lifeBed) data(k ServiceKey) string {
	return b.seen(clientNIC, segment(client, AddrPort(k.Addr, k.Port), wire.ACK, 101, 501, "GET"))
}

func (b *lifeBed) reply(server netip.AddrPort) string {
	return b.seen(serverNIC, segment(server, client, wire.ACK, 501, 104, "200"))
}

func (b *lifeBed) ask(k ServiceKey) string {
	return b.seen(clientNIC, packet(ProtoUDP, client, AddrPort(k.Addr, k.Port), 0, []byte("?")))
}

func (b *lifeBed) tell(server netip.AddrPort) string {
	return b.seen(serverNIC, packet(ProtoUDP, server, client, 0, []byte("!")))
}

// begin has the client use the service as the class says, and returns the server
// that got it and the other one.
func (b *lifeBed) begin(t Traffic) (server, other netip.AddrPort) {
	b.t.Helper()
	k := b.keys[t]
	var words string
	if t == UDPFlow {
		words = b.ask(k)
		_, to, _ := strings.Cut(words, " > ")
		server = netip.MustParseAddrPort(to)
	} else {
		words = b.syn(k, client.Port())
		_, to, _ := strings.Cut(words, " > ")
		server = netip.MustParseAddrPort(to)
		b.seen(serverNIC, segment(server, client, wire.SYN|wire.ACK, 500, 101, ""))
		b.seen(clientNIC, segment(client, AddrPort(k.Addr, k.Port), wire.ACK, 101, 501, ""))
	}
	last := server.Addr().As4()
	last[3] = 11 + 12 - last[3]
	return server, netip.AddrPortFrom(netip.AddrFrom4(last), server.Port())
}

// probe sends what shows the class's action, and returns what it met.
func (b *lifeBed) probe(t Traffic) string {
	k := b.keys[t]
	switch t {
	case Established:
		return b.data(k)
	case NewTCP:
		return b.syn(k, client.Port())
	case UDPFlow:
		return b.ask(k)
	}
	return b.syn(k, client.Port()+1)
}

// cell is one row of the table: an action, and what is seen of it. In the words
// C is the client, V the VIP, S the server in trouble and O the other one.
type cell struct {
	t      Traffic
	a      Action
	at     string // the events; all if empty
	meets  string // what the class's packet meets
	then   string // what the next such packet meets
	reply  string // what the server's packet meets after that
	counts LifeCounters
}

var one = struct{ moved, reset, unreachable LifeCounters }{
	LifeCounters{Moved: 1}, LifeCounters{Reset: 1}, LifeCounters{Unreachable: 1},
}

var cells = []cell{
	{Established, AsKernel, "drain down", "C > S", "C > S", "V > C", LifeCounters{}},
	{Established, AsKernel, "removed", "server-gone", "server-gone", "V > C", LifeCounters{}},
	{Established, Keep, "", "C > S", "C > S", "V > C", LifeCounters{}},
	{Established, ResetClient, "", "V > C rst 501", "V > C rst 501", "V > C rst 501 ack 104", one.reset},
	{Established, ResetServer, "", "C > S rst 101 ack 501", "C > S rst 101 ack 501", "C > S rst 104", one.reset},
	{
		Established, ResetBoth, "", "V > C rst 501, C > S rst 101 ack 501", "V > C rst 501, C > S rst 101 ack 501",
		"C > S rst 104, V > C rst 501 ack 104", one.reset,
	},

	{NewTCP, AsKernel, "drain", "C > S", "C > S", "V > C", LifeCounters{}},
	{NewTCP, AsKernel, "down", "C > O", "C > O", "", one.moved},
	{NewTCP, AsKernel, "removed", "server-gone", "server-gone", "V > C", LifeCounters{}},
	{NewTCP, Keep, "drain", "C > S", "C > S", "V > C", LifeCounters{}},
	{NewTCP, Move, "", "C > O", "C > O", "", one.moved},
	{NewTCP, ResetClient, "", "V > C rst 0 ack 101", "C > O", "", one.reset},
	{NewTCP, Unreachable, "", "client icmp 3/3", "C > O", "", one.unreachable},

	{UDPFlow, AsKernel, "drain down", "C > S", "C > S", "V > C", LifeCounters{}},
	{UDPFlow, AsKernel, "removed", "server-gone", "server-gone", "V > C", LifeCounters{}},
	{UDPFlow, Keep, "", "C > S", "C > S", "V > C", LifeCounters{}},
	{UDPFlow, Move, "", "C > O", "C > O", "V > C", one.moved}, // the answer is to what came before
	{UDPFlow, Unreachable, "", "client icmp 3/3", "C > O", "", one.unreachable},

	{PersistentClient, AsKernel, "drain", "D > S", "D > S", "V > C", LifeCounters{}},
	{PersistentClient, AsKernel, "down", "D > O", "D > O", "V > C", one.moved},
	{PersistentClient, AsKernel, "removed", "D > O", "D > O", "V > C", LifeCounters{}},
	{PersistentClient, Keep, "drain", "D > S", "D > S", "V > C", LifeCounters{}},
	{PersistentClient, Move, "", "D > O", "D > O", "V > C", one.moved},
	{PersistentClient, ResetClient, "", "V > D rst 0 ack 101", "D > O", "V > C", one.reset},
	{PersistentClient, Unreachable, "", "client icmp 3/3", "D > O", "V > C", one.unreachable},
}

// policy is one with the action in one cell.
func policy(e LifeEvent, t Traffic, a Action) (p LifePolicy) {
	p.Of(e).First[t] = a
	return p
}

// words puts names in place of addresses.
func (b *lifeBed) words(s string, k ServiceKey, server, other netip.AddrPort) string {
	return strings.NewReplacer(
		client.String(), "C", addrPort(client.Addr(), client.Port()+1).String(), "D",
		AddrPort(k.Addr, k.Port).String(), "V", server.String(), "S", other.String(), "O",
	).Replace(s)
}

func TestEveryCell(t *testing.T) {
	tested := map[string]bool{}
	for _, c := range cells {
		for _, e := range LifeEvents {
			if c.at != "" && !strings.Contains(c.at, e.String()) {
				continue
			}
			name := fmt.Sprintf("%s/%s/%s", e, c.t, c.a)
			tested[name] = true
			t.Run(name, func(t *testing.T) {
				b := newLifeBed(t)
				k := b.keys[c.t]
				b.life(k, policy(e, c.t, c.a))
				server, other := b.begin(c.t)
				b.befall(k, server, e)
				say := func(s string) string { return b.words(s, k, server, other) }
				if got := say(b.probe(c.t)); got != c.meets {
					t.Fatalf("met %q, want %q", got, c.meets)
				}
				b.now += 1e8
				b.e.Expire(b.now, 1<<20)
				if got := say(b.probe(c.t)); got != c.then {
					t.Errorf("then %q, want %q", got, c.then)
				}
				reply := b.reply
				if c.t == UDPFlow {
					reply = b.tell
				}
				if c.reply == "" {
					c.reply = "no-connection"
				}
				if got := say(reply(server)); got != c.reply {
					t.Errorf("the server's packet met %q, want %q", got, c.reply)
				}
				if got := b.counts(k, server); got != c.counts {
					t.Errorf("counted %+v, want %+v", got, c.counts)
				}
			})
		}
	}
	// What is not in the table makes no sense, and is refused.
	for _, e := range LifeEvents {
		for c := range TrafficClasses {
			for a := range actions + 1 {
				name := fmt.Sprintf("%s/%s/%s", e, c, a)
				p := policy(e, c, a)
				if err := p.Check(lifeServices()[c]); (err == nil) != tested[name] {
					t.Errorf("%s: refused with %v; tested above: %v", name, err, tested[name])
				}
			}
		}
	}
}

// The server speaks first.
func TestResetFromTheServersSide(t *testing.T) {
	for a, want := range map[Action][2]string{
		ResetClient: {"V > C rst 501 ack 104", "V > C rst 501"},
		ResetServer: {"C > S rst 104", "C > S rst 101 ack 501"},
		ResetBoth:   {"C > S rst 104, V > C rst 501 ack 104", "V > C rst 501, C > S rst 101 ack 501"},
	} {
		b := newLifeBed(t)
		b.life(web, policy(Down, Established, a))
		server, other := b.begin(Established)
		b.befall(web, server, Down)
		for i, got := range []string{b.reply(server), b.data(web)} {
			if got = b.words(got, web, server, other); got != want[i] {
				t.Errorf("%s: packet %d met %q, want %q", a, i, got, want[i])
			}
		}
		if got := b.counts(web, server); got != one.reset {
			t.Errorf("%s: counted %+v", a, got)
		}
		d := b.servers(web)[server.Addr().String()]
		if d.Active != 0 || d.Inactive != 1 {
			t.Errorf("%s: %d active, %d inactive", a, d.Active, d.Inactive)
		}
		// It ends as a closed connection does, whatever still comes for it.
		b.seconds(9)
		b.data(web)
		b.seconds(2)
		if n := b.e.Table().Len(); n != 0 {
			t.Errorf("%s: %d connections left", a, n)
		}
	}
}

func TestWhatEndsByItselfIsNotReset(t *testing.T) {
	b := newLifeBed(t)
	b.life(web, policy(Down, Established, ResetBoth))
	server, other := b.begin(Established)
	b.befall(web, server, Down)
	got := b.words(b.seen(clientNIC, segment(client, vip, wire.RST, 101, 0, "")), web, server, other)
	if got != "C > S" {
		t.Errorf("the client's own reset met %q", got)
	}
	if got := b.counts(web, server); got != (LifeCounters{}) {
		t.Errorf("counted %+v", got)
	}

	b = newLifeBed(t)
	b.life(web, policy(Down, Established, ResetBoth))
	server, other = b.begin(Established)
	b.seen(serverNIC, segment(server, client, wire.FIN|wire.ACK, 501, 101, ""))
	b.seen(clientNIC, segment(client, vip, wire.FIN|wire.ACK, 101, 502, ""))
	b.befall(web, server, Down)
	got = b.words(b.seen(serverNIC, segment(server, client, wire.ACK, 502, 102, "")), web, server, other)
	if got != "V > C" {
		t.Errorf("the last ACK met %q", got)
	}
}

func TestAnswersToWrongChecksums(t *testing.T) {
	b := newLifeBed(t)
	b.life(web, policy(Down, Established, ResetBoth))
	server, _ := b.begin(Established)
	b.befall(web, server, Down)
	f := segment(client, vip, wire.ACK, 101, 501, "GET")
	f.Buf[len(f.Buf)-1] ^= 1
	if got := b.seen(clientNIC, f); got != "bad-checksum" {
		t.Errorf("met %q", got)
	}
	b.life(web, policy(Down, NewTCP, ResetClient))
	f = segment(client, vip, wire.SYN, 101, 501, "x")
	f.Buf[len(f.Buf)-1] ^= 1
	if got := b.seen(clientNIC, f); got != "bad-checksum" {
		t.Errorf("met %q", got)
	}
	if got := b.counts(web, server); got != (LifeCounters{}) {
		t.Errorf("counted %+v", got)
	}
}

// A frame that the NIC cannot take is counted once, even of two answers.
func TestFailedSecondAnswer(t *testing.T) {
	b := newLifeBed(t)
	b.life(web, policy(Down, Established, ResetBoth))
	server, _ := b.begin(Established)
	b.befall(web, server, Down)
	w := b.workers[clientNIC]
	batch := nic.Batch{N: 1}
	batch.Frames[0] = segment(client, vip, wire.ACK, 101, 501, "GET")
	w.Process(&batch, b.now)
	before := w.Ledger().Replied
	for i := range w.Out() {
		w.Failed(i, syscall.ENOBUFS)
	}
	w.Commit()
	if l := w.Ledger(); !l.Balanced() || l.Replied != before || l.Dropped[TxNoBuffer] != 1 {
		t.Errorf("%+v", l)
	}
}

func TestWhyAPolicyIsRefused(t *testing.T) {
	for _, c := range []struct {
		p    LifePolicy
		says string
	}{
		{policy(Drain, Established, Move), "drain, established: move: no other server knows"},
		{policy(Down, NewTCP, Keep), "down, new: keep: a server that is down or removed gets no new"},
		{policy(Removed, UDPFlow, ResetBoth), "removed, udp: reset-both: UDP knows no reset"},
		{LifePolicy{Drain: EventPolicy{Deadline: -1}}, "drain: a deadline is 0 (none) to 365 days"},
		{LifePolicy{Drain: EventPolicy{Deadline: maxDeadline + 1}}, "a deadline is 0"},
		{LifePolicy{Drain: EventPolicy{Deadline: 1}}, "drain: there is a deadline, and nothing happens then"},
		{LifePolicy{Drain: EventPolicy{Then: Actions{UDPFlow: Move}}}, "drain, udp: move follows at a deadline, and there is none"},
		{LifePolicy{Drain: EventPolicy{Deadline: 1, Then: Actions{UDPFlow: Keep}}}, "at a deadline something ends"},
		{LifePolicy{Down: EventPolicy{Deadline: 1, Then: Actions{NewTCP: ResetClient}}}, "nothing is left for reset-client at the deadline after move"},
		{LifePolicy{Down: EventPolicy{Deadline: 1, Then: Actions{UDPFlow: ResetBoth}}}, "UDP knows no reset"},
	} {
		b := newLifeBed(t)
		b.e.Update(func(tx *Tx) {
			err, ok := tx.SetLife(web, c.p).(*Error)
			if !ok || err.Errno != syscall.EINVAL || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
			if s, _ := tx.Service(web); s.Life != nil {
				t.Error("and yet it was taken")
			}
		})
	}
	udp := lifeServices()[UDPFlow]
	p := policy(Down, PersistentClient, ResetClient)
	if err := p.Check(udp); err == nil {
		t.Error("a reset for persistent clients of a UDP service was taken")
	}
	if err := p.Check(ServiceKey{Mark: 1}); err != nil {
		t.Error(err)
	}
	b := newLifeBed(t)
	b.e.Update(func(tx *Tx) {
		none := ServiceKey{Proto: ProtoTCP, Port: 1}
		for _, err := range []error{tx.SetLife(none, LifePolicy{}), tx.MarkServer(none, ServerKey{}, true)} {
			if e, ok := err.(*Error); !ok || e.Errno != syscall.ESRCH {
				t.Error(err)
			}
		}
		if e, ok := tx.MarkServer(web, ServerKey{}, true).(*Error); !ok || e.Errno != syscall.ENOENT {
			t.Error(e)
		}
		bad := policy(Drain, Established, Move)
		if tx.AddService(ServiceSpec{Key: none, Scheduler: "rr", Life: &bad}) == nil ||
			tx.EditService(ServiceSpec{Key: web, Scheduler: "rr", Life: &bad}) == nil {
			t.Error("a service was added or edited with nonsense")
		}
	})
}

func TestPresets(t *testing.T) {
	for _, name := range LifePresets() {
		p, ok := LifePreset(name)
		if !ok || p.Preset() != name {
			t.Errorf("%s: %v, named %q", name, ok, p.Preset())
		}
		for _, k := range append(lifeServicesOnce(), ServiceKey{Mark: 1}) {
			if err := p.Check(k); err != nil {
				t.Errorf("%s for %s: %v", name, k, err)
			}
		}
	}
	if p, ok := LifePreset("kernel"); !ok || p != (LifePolicy{}) || LifePresets()[0] != "kernel" {
		t.Error("kernel is not the zero policy")
	}
	if _, ok := LifePreset("none"); ok {
		t.Error("there is a preset none")
	}
	if p := policy(Drain, UDPFlow, Unreachable); p.Preset() != "" {
		t.Error("a policy of its own has a preset's name")
	}
}

func lifeServicesOnce() []ServiceKey {
	k := lifeServices()
	return []ServiceKey{k[Established], k[UDPFlow], k[PersistentClient]}
}

// A service keeps its policy when it is edited by those who know of none.
func TestEditKeepsLife(t *testing.T) {
	b := newLifeBed(t)
	dns, _ := LifePreset("dns")
	b.life(web, dns)
	life := func() (p LifePolicy) {
		b.update(func(tx *Tx) error {
			s, err := tx.Service(web)
			p = *s.Life
			return err
		})
		return p
	}
	b.command("-E -t 192.0.2.1:80 -s wlc")
	if life() != dns {
		t.Errorf("after an edit %+v", life())
	}
	fast, _ := LifePreset("fail-fast")
	b.update(func(tx *Tx) error { return tx.EditService(ServiceSpec{Key: web, Scheduler: "rr", Life: &fast}) })
	if life() != fast {
		t.Errorf("after an edit with another %+v", life())
	}
	if err := b.e.Transact(func(tx *Tx) error {
		if err := tx.SetLife(web, dns); err != nil {
			return err
		}
		return tx.EditService(ServiceSpec{Key: web, Scheduler: "wlc"})
	}, func(Endpoints) error { return nil }); err != nil {
		t.Fatal(err)
	}
	if life() != dns {
		t.Errorf("after a transaction %+v", life())
	}
}

func TestDownServer(t *testing.T) {
	b := newLifeBed(t)
	server := func() ServerInfo { return b.servers(web)["10.0.0.11"] }
	mark := func(down bool) {
		b.update(func(tx *Tx) error {
			return tx.MarkServer(web, ServerKey{netip.MustParseAddr("10.0.0.11").As16(), 8080}, down)
		})
	}
	picks := func(want string) {
		t.Helper()
		got := map[string]int{}
		for range 4 {
			b.now += 1
			src := addrPort(client.Addr(), uint16(b.now))
			_, to, _ := strings.Cut(b.seen(clientNIC, segment(src, vip, wire.SYN, 1, 0, "")), " > ")
			got[to]++
		}
		if fmt.Sprint(got) != want {
			t.Errorf("picked %v, want %s", got, want)
		}
	}
	const both, twelve = "map[10.0.0.11:8080:2 10.0.0.12:8080:2]", "map[10.0.0.12:8080:4]"
	picks(both)
	mark(true)
	if s := server(); s.Event != Down || s.Weight != 1 {
		t.Errorf("%+v", s)
	}
	picks(twelve)
	b.command("-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 5")
	if s := server(); s.Event != Down || s.Weight != 5 {
		t.Errorf("%+v", s)
	}
	picks(twelve)
	mark(false)
	picks(both)
	b.command("-e -t 192.0.2.1:80 -r 10.0.0.11:8080 -m -w 0")
	mark(true)
	mark(false)
	if s := server(); s.Event != Drain || s.Weight != 0 {
		t.Errorf("%+v", s)
	}
	picks(twelve)
	// A server is up when it is added, even if it was down when it was deleted.
	mark(true)
	b.command("-d -t 192.0.2.1:80 -r 10.0.0.11:8080", "-a -t 192.0.2.1:80 -r 10.0.0.11:8080 -m")
	if s := server(); s.Event != 0 {
		t.Errorf("%+v", s)
	}
	picks(both)
}

func TestZeroLifeCounts(t *testing.T) {
	b := newLifeBed(t)
	k := b.keys[UDPFlow]
	server, _ := b.begin(UDPFlow)
	b.life(k, policy(Drain, UDPFlow, Move))
	b.befall(k, server, Drain)
	b.ask(k)
	if got := b.counts(k, server); got != one.moved {
		t.Fatalf("%+v", got)
	}
	b.update(func(tx *Tx) error { return tx.Zero(&k) })
	if got := b.counts(k, server); got != (LifeCounters{}) {
		t.Errorf("%+v", got)
	}
}

func TestLifeAllocatesNothing(t *testing.T) {
	for _, name := range LifePresets() {
		b := newLifeBed(t)
		p, _ := LifePreset(name)
		b.life(web, p)
		server, _ := b.begin(Established)
		b.befall(web, server, Down)
		w := b.workers[clientNIC]
		batch := nic.Batch{N: 1}
		frame := segment(client, vip, wire.ACK, 101, 501, "GET")
		work := append([]byte(nil), frame.Buf...)
		if n := testing.AllocsPerRun(100, func() {
			copy(work, frame.Buf)
			batch.Frames[0] = nic.Frame{Buf: work, WireLen: frame.WireLen}
			b.now += int64(time.Millisecond)
			w.Process(&batch, b.now)
			w.Commit()
		}); n != 0 {
			t.Errorf("%s: %v allocations a packet", name, n)
		}
	}
}

// What docs/life.md says of the presets is what they are.
func TestDocumentedPresets(t *testing.T) {
	text, err := os.ReadFile("../docs/life.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range LifePresets()[1:] {
		p, _ := LifePreset(name)
		_, section, found := strings.Cut(string(text), "\n`"+name+"`: ")
		if !found {
			t.Errorf("%s is not documented", name)
		}
		var want strings.Builder
		for _, e := range LifeEvents {
			ep := p.Of(e)
			fmt.Fprintf(&want, "| %s |", e)
			for c := range TrafficClasses {
				fmt.Fprintf(&want, " %s", ep.First[c])
				if ep.Then[c] != AsKernel {
					fmt.Fprintf(&want, ",%s", ep.Then[c])
				}
				want.WriteString(" |")
			}
			switch {
			case ep.Deadline == 0:
				want.WriteString(" - |\n")
			case ep.Deadline < time.Minute:
				fmt.Fprintf(&want, " %d s |\n", ep.Deadline/time.Second)
			default:
				fmt.Fprintf(&want, " %d min |\n", ep.Deadline/time.Minute)
			}
		}
		_, table, _ := strings.Cut(section, "|---|---|---|---|---|---|\n")
		if !strings.HasPrefix(table, want.String()) {
			t.Errorf("%s is documented otherwise than\n%s", name, want.String())
		}
	}
}
