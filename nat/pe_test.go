package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nic"
)

var sipVIP = netip.MustParseAddrPort("192.0.2.1:5060")

// newSIPBed has a SIP service with three servers at another port.
func newSIPBed(t testing.TB, options string) *bed {
	b := newBed(t, Options{Guarded: true})
	b.command("-A -u 192.0.2.1:5060 -s rr --pe sip " + options)
	for i := 11; i <= 13; i++ {
		b.command(fmt.Sprintf("-a -u 192.0.2.1:5060 -r 10.0.0.%d:5062 -m", i))
	}
	return b
}

func sipMessage(src, dst netip.AddrPort, callID string) nic.Frame {
	return packet(ProtoUDP, src, dst, 0, []byte("OPTIONS sip:x SIP/2.0\r\n"+callID+"\r\nCSeq: 1 OPTIONS\r\n\r\n"))
}

// says has a client send a message and returns the server that got it.
func (b *bed) says(from netip.AddrPort, callID string) netip.AddrPort {
	b.t.Helper()
	v, out := b.in(clientNIC, sipMessage(from, sipVIP, callID))
	if v != forwarded || len(out) != 1 {
		b.t.Fatalf("%v (%v)", v, v.Reason)
	}
	out[0].checksums(b.t)
	return AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort)
}

// calls returns the templates' data.
func (b *bed) calls() map[string]conntrack.Copy {
	all := map[string]conntrack.Copy{}
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		if c.Flags&conntrack.Template != 0 {
			all[string(b.e.Table().HomeOf(c).Data(c, nil))] = b.e.Table().Copy(c)
		}
		return true
	})
	return all
}

func TestCallsStayTogether(t *testing.T) {
	for _, options := range []string{"-p 100", "-p 100 -o"} {
		b := newSIPBed(t, options)
		servers := map[string]netip.AddrPort{}
		for i := range 60 {
			id := fmt.Sprintf("call%d@host", i%20)
			header := "Call-ID: " + id
			if i%2 == 1 {
				header = "i:" + id
			}
			got := b.says(addrPort(client.Addr(), uint16(3000+i)), header)
			if was, ok := servers[id]; ok && was != got {
				t.Fatalf("%s: %s went to %v and %v", options, id, was, got)
			}
			servers[id] = got
		}
		used := map[netip.AddrPort]int{}
		for _, s := range servers {
			used[s]++
		}
		if len(used) != 3 || len(b.calls()) != 20 {
			t.Errorf("%s: servers %v, %d templates", options, used, len(b.calls()))
		}
		c := b.calls()["call7@host"]
		if AddrPort(c.Client, c.ClientPort) != addrPort(client.Addr(), 0) || AddrPort(c.Virtual, c.VirtualPort) != sipVIP || c.DestPort != 5062 ||
			c.Proto != ProtoUDP || c.Timeout() != 100e9 {
			t.Errorf("%s: template %+v", options, c)
		}
		want := 20 + 60
		if options == "-p 100 -o" {
			want = 20
		}
		if n := b.e.Table().Len(); n != want {
			t.Errorf("%s: %d connections and templates, want %d", options, n, want)
		}
	}
}

// The same Call-ID from another network of clients is another call.
func TestCallsOfOtherClients(t *testing.T) {
	b := newSIPBed(t, "-p 100 -M 255.255.255.128")
	first := b.says(client, "Call-ID: x@y")
	if b.says(addrPort(client.Addr().Next(), 7), "Call-ID: x@y") != first {
		t.Error("clients of one network have two servers")
	}
	if b.says(netip.MustParseAddrPort("192.0.2.200:7"), "Call-ID: x@y") == first {
		t.Error("another network has the same server: the rest of the list was not tried")
	}
	if n := len(b.templates()); n != 2 {
		t.Errorf("%d templates", n)
	}
}

func TestNoCallID(t *testing.T) {
	b := newSIPBed(t, "-p 100")
	b.command("-A -f 7 -s rr --pe sip -p 100", "-a -f 7 -r 10.0.0.11:0 -m")
	b.marks(MarkRule{Selector{Dst: netip.MustParsePrefix("198.51.100.9/32")}, 7})
	marked := netip.MustParseAddrPort("198.51.100.9:5060")
	for name, f := range map[string]nic.Frame{
		"no header":     sipMessage(client, sipVIP, "Subject: none"),
		"empty":         packet(ProtoUDP, client, sipVIP, 0, nil),
		"TCP, by mark":  packet(ProtoTCP, client, marked, 2, nil),
		"SCTP, by mark": chunks(client, marked, 1),
	} {
		if v, _ := b.in(clientNIC, f); v != drop(NoCallID) {
			t.Errorf("%s: %v (%v)", name, v, v.Reason)
		}
	}
	if v, _ := b.in(clientNIC, sipMessage(client, marked, "i: x")); v != forwarded {
		t.Errorf("UDP by mark: %v (%v)", v, v.Reason)
	}
	if c := b.calls()["x"]; c.Proto != 0 || AddrPort(c.Virtual, 0).Addr() != netip.MustParseAddr("0.0.0.7") {
		t.Errorf("template %+v", c)
	}
}

func TestUnknownPersistenceEngine(t *testing.T) {
	b := newBed(t, Options{})
	if err := command(b.e, "-A -u 192.0.2.1:5060 -s rr -p 10 --pe sap"); err == nil || err.(*Error).Errno.Error() != "no such file or directory" {
		t.Errorf("%v", err)
	}
}

// A server calls: it is the VIP that calls, and what the client answers, and whatever
// else belongs to the call, goes to that server.
func TestServerCalls(t *testing.T) {
	phone := addrPort(client.Addr(), 5060)
	server := netip.MustParseAddrPort("10.0.0.12:5062")
	for _, options := range []string{"-p 100", "-p 100 -o"} {
		b := newSIPBed(t, options)
		v, out := b.in(serverNIC, sipMessage(server, phone, "Call-ID: out@1"))
		b.one(v, out, clientNIC, sipVIP, phone)
		c := b.calls()["out@1"]
		if !c.Assured || AddrPort(c.Dest, c.DestPort) != server || c.Mark != 0 || len(b.calls()) != 1 {
			t.Errorf("%s: template %+v", options, c)
		}
		if got := b.e.Total(); got.Conns != 1 || got.OutPkts != 1 {
			t.Errorf("%s: counted %+v", options, got)
		}
		connections := 1
		if options == "-p 100 -o" {
			connections = 0
		}
		if n := b.e.Table().Len() - 1; n != connections {
			t.Errorf("%s: %d connections", options, n)
		}
		for _, from := range []netip.AddrPort{phone, addrPort(client.Addr(), 9999)} {
			if got := b.says(from, "Call-ID: out@1"); got != server {
				t.Errorf("%s: from %v to %v", options, from, got)
			}
		}
		d := b.servers(ServiceKey{Proto: ProtoUDP, Addr: sipVIP.Addr().As16(), Port: 5060})["10.0.0.12"]
		if d.Persistent != 1 || int(d.Active+d.Inactive) != b.e.Table().Len()-1 {
			t.Errorf("%s: the server counts %+v", options, d)
		}
	}
}

// A call that was another server's is not any more once a server takes it up.
func TestServerTakesACallOver(t *testing.T) {
	b := newSIPBed(t, "-p 100")
	first := b.says(client, "Call-ID: x")
	other := netip.MustParseAddrPort("10.0.0.11:5062")
	if first == other {
		other = netip.MustParseAddrPort("10.0.0.12:5062")
	}
	b.in(serverNIC, sipMessage(other, addrPort(client.Addr(), 7), "Call-ID: x"))
	if got := b.says(addrPort(client.Addr(), 8), "Call-ID: x"); got != other {
		t.Errorf("the call went to %v, which was %v's and then %v's", got, first, other)
	}
}

func TestServersThatDoNotCall(t *testing.T) {
	phone := addrPort(client.Addr(), 5060)
	server := netip.MustParseAddrPort("10.0.0.12:5062")
	for name, c := range map[string]struct {
		setup []string
		frame nic.Frame
	}{
		"no Call-ID":           {nil, sipMessage(server, phone, "X: y")},
		"to the director":      {nil, sipMessage(server, netip.MustParseAddrPort("10.0.0.1:5060"), "Call-ID: x")},
		"another port":         {nil, sipMessage(addrPort(server.Addr(), 99), phone, "Call-ID: x")},
		"direct routing":       {[]string{"-e -u 192.0.2.1:5060 -r 10.0.0.12:5062 -g"}, sipMessage(server, phone, "Call-ID: x")},
		"a deleted server":     {[]string{"-d -u 192.0.2.1:5060 -r 10.0.0.12:5062"}, sipMessage(server, phone, "Call-ID: x")},
		"no engine any more":   {[]string{"-E -u 192.0.2.1:5060 -s rr -p 10"}, sipMessage(server, phone, "Call-ID: x")},
		"a service of a mark":  {[]string{"-D -u 192.0.2.1:5060", "-A -f 7 -s rr -p 10 --pe sip", "-a -f 7 -r 10.0.0.12:5062 -m"}, sipMessage(server, phone, "Call-ID: x")},
		"a service of no port": {[]string{"-D -u 192.0.2.1:5060", "-A -u 192.0.2.1:0 -s rr -p 10 --pe sip", "-a -u 192.0.2.1:0 -r 10.0.0.12:5062 -m"}, sipMessage(server, phone, "Call-ID: x")},
	} {
		b := newSIPBed(t, "-p 100")
		b.command(c.setup...)
		b.in(serverNIC, c.frame)
		if n := b.e.Table().Len(); n != 0 {
			t.Errorf("%s: %d connections and templates", name, n)
		}
	}
}

// A template of a call ends by its timer, with all that it had.
func TestCallsEnd(t *testing.T) {
	b := newSIPBed(t, "-p 100 -o")
	for i := range 500 {
		b.says(client, fmt.Sprintf("Call-ID: %0200d", i))
	}
	b.now += 101e9
	for b.e.Expire(b.now, 1<<20) > 0 {
	}
	if n := b.e.Table().Len(); n != 0 {
		t.Fatalf("%d templates are left", n)
	}
	before := b.e.Table().Bytes()
	for i := range 500 {
		b.says(client, fmt.Sprintf("Call-ID: %0200d", i+1000))
	}
	if after := b.e.Table().Bytes(); after > before+before/10 {
		t.Errorf("the second 500 calls took %d bytes more than %d", after-before, before)
	}
}

func TestCallsAllocateNothing(t *testing.T) {
	b := newSIPBed(t, "-p 100 -o")
	in := sipMessage(client, sipVIP, "Call-ID: a84b4c76e66710@pc33.atlanta.com")
	out := sipMessage(netip.MustParseAddrPort("10.0.0.12:5062"), addrPort(client.Addr(), 5060), "Call-ID: b84b4c76e66710@pc33")
	frames := []nic.Frame{in, out}
	fresh := [][]byte{append([]byte(nil), in.Buf...), append([]byte(nil), out.Buf...)}
	var batch nic.Batch
	run := func() {
		for i, at := range []int{clientNIC, serverNIC} {
			w := b.workers[at]
			copy(frames[i].Buf, fresh[i])
			batch.N, batch.Frames[0] = 1, frames[i]
			b.now += 1e6
			w.Process(&batch, b.now)
			if w.Verdict(0) != forwarded {
				t.Fatal(w.Verdict(0))
			}
			w.Commit()
		}
	}
	run()
	if n := testing.AllocsPerRun(200, run); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
