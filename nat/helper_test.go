package nat

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// open opens the control connection; both ends count from 1000.
func (b *ftpBed) open() *ftpBed {
	b.t.Helper()
	b.segment(false, wire.SYN, 999, 0, nil)
	b.segment(true, wire.SYN|wire.ACK, 999, 1000, nil)
	b.segment(false, wire.ACK, 1000, 1000, nil)
	return b
}

func (b *ftpBed) counters(name string) HelperCounters {
	var c HelperCounters
	b.e.Update(func(tx *Tx) {
		for _, h := range tx.Helpers() {
			if h.Name == name {
				c = h.Counters
			}
		}
	})
	return c
}

// conns returns the table's connections, but for the control connection.
func (b *ftpBed) conns() (list []conntrack.Conn) {
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		if c.Control != 0 {
			list = append(list, *c)
		}
		return true
	})
	return list
}

func TestFTPPassive(t *testing.T) {
	b := newFTPBed4(t)
	flows := make(nic.Flows, nic.FlowSlots)
	b.e.TellFlows(flows)
	told := func() bool {
		client, vip := b.client.Addr().As16(), b.vip.Addr().As16()
		return flows.Has(&client, &vip, 50000)
	}
	if o := b.e.Owned(); len(o.Wide) != 0 || len(o.Services) != 2 {
		t.Errorf("owned although the guard is told: %+v", o)
	}
	b.open()
	b.segment(false, wire.ACK, 1000, 1000, []byte("PASV\r\n"))
	out := b.segment(true, wire.ACK, 1000, 1006, []byte("227 Entering Passive Mode (10,0,0,5,195,80).\r\n"))
	if got := string(out.tcp().Payload()); got != "227 Entering Passive Mode (192,0,2,1,195,80).\r\n" {
		t.Fatalf("the client got %q", got)
	}
	list := b.conns()
	if len(list) != 1 {
		t.Fatalf("%d connections expected", len(list))
	}
	if !told() {
		t.Error("the guard was not told")
	}
	c := &list[0]
	if c.Flags&(conntrack.NoCPort|conntrack.NFCT|conntrack.Inactive) != conntrack.NoCPort|conntrack.NFCT|conntrack.Inactive ||
		state.TCP(c.State) != state.TCPListen || c.Timeout() != 120e9 || c.VirtualPort != 50000 || c.DestPort != 50000 || c.Why() != conntrack.FromHelper {
		t.Errorf("expected connection %+v", *c)
	}
	// Later segments are counted one byte further, acknowledgments one less.
	after := b.segment(true, wire.ACK, 1046, 1006, []byte("150 here\r\n"))
	if got := after.tcp().Seq(); got != 1047 {
		t.Errorf("the next reply begins at %d, want 1047", got)
	}
	ack := b.segment(false, wire.ACK, 1006, 1057, nil)
	if got := ack.tcp().Ack(); got != 1056 {
		t.Errorf("acknowledged up to %d, want 1056", got)
	}
	from := addrPort(b.client.Addr(), 50001)
	v, to := b.in(clientNIC, packet(ProtoTCP, from, addrPort(b.vip.Addr(), 50000), wire.SYN, nil))
	if v != forwarded || AddrPort(to[0].pkt.Dst, to[0].pkt.DstPort) != addrPort(b.rip.Addr(), 50000) {
		t.Fatalf("data connection: %v (%v)", v, v.Reason)
	}
	// One connection goes to the announced port, once.
	if v, _ := b.in(clientNIC, packet(ProtoTCP, addrPort(b.client.Addr(), 50002), addrPort(b.vip.Addr(), 50000), wire.SYN, nil)); v != passed {
		t.Errorf("a second one: %v", v)
	}
	if n := b.counters("ftp"); n != (HelperCounters{Expected: 1, Changed: 1}) {
		t.Errorf("counted %+v", n)
	}
	// The control connection outlives its timer while there are others.
	b.e.Update(func(tx *Tx) {
		tx.ChangeTimeouts(func(to *state.Timeouts) { to.TCP[state.TCPClose] = 1e9 })
	})
	b.segment(false, wire.RST, 1006, 0, nil)
	b.now += 30e9
	b.e.Expire(b.now, 1000)
	if n := b.e.Table().Len(); n != 2 {
		t.Errorf("%d connections are left, want 2", n)
	}
	b.now += 400e9
	b.e.Expire(b.now, 1000)
	b.now += 70e9
	b.e.Expire(b.now, 1000)
	if n := b.e.Table().Len(); n != 0 || told() {
		t.Errorf("%d connections are left at the end, told: %v", n, told())
	}
	b.e.Update(func(tx *Tx) {
		for _, s := range tx.Services() {
			for _, d := range s.Servers {
				if d.Active != 0 || d.Inactive != 0 {
					t.Errorf("%v still counts %d active and %d inactive", d.Key, d.Active, d.Inactive)
				}
			}
		}
	})
}

// What is said must be the client's or the server's to say.
func TestFTPHostile(t *testing.T) {
	for _, tt := range []struct {
		name            string
		command, reply  string
		want            string // reply at the client; "" for unchanged
		expects, refuse uint64
	}{
		{"another's address", "PORT 192,0,2,8,4,1\r\n", "200 ok\r\n", "", 0, 1},
		{"the VIP", "PORT 192,0,2,1,4,1\r\n", "200 ok\r\n", "", 0, 1},
		{"port 0", "PORT 192,0,2,7,0,0\r\n", "200 ok\r\n", "", 0, 1},
		{"number 256", "PORT 192,0,2,7,256,1\r\n", "200 ok\r\n", "", 0, 0},
		{"another family", "EPRT |2|2001:db8::1|1025|\r\n", "200 ok\r\n", "", 0, 0},
		{"another's address, extended", "EPRT |1|192.0.2.8|1025|\r\n", "200 ok\r\n", "", 0, 1},
		{"NULs", "PORT \x00192,0,2,7,4,1\r\n\x00\x00PASV\x00\r\n", "227 (10,0,0,5,4,1)\r\n", "", 0, 0},
		{"overlong", "PORT " + strings.Repeat(" ", 1200) + "192,0,2,7,4,1\r\n", "200 ok\r\n", "", 1, 0},
		{"overlong numbers", "PORT 192,0,2,7,4," + strings.Repeat("0", 1200) + "1\r\n", "200 ok\r\n", "", 1, 0},
		{"an answer that was not asked for", "NOOP\r\n", "227 (10,0,0,5,4,1)\r\n", "", 0, 0},
		{"another server", "PASV\r\n", "227 (10,0,0,12,4,1)\r\n", "", 0, 1},
		{"number 256 in the answer", "PASV\r\n", "227 (10,0,0,5,256,1)\r\n", "", 0, 0},
		{"port 0 in the answer", "PASV\r\n", "227 (10,0,0,5,0,0)\r\n", "", 0, 1},
		{"another service's port", "PASV\r\n", "227 (10,0,0,5,0,80)\r\n", "", 0, 1},
		{"needless zeros", "PASV\r\n", "227 (010,0,0,5,4,001)\r\n", "227 (192,0,2,1,4,1)\r\n", 1, 0},
		{"more zeros than can be remembered", "PASV\r\n", "227 (10,0,0,5,4," + strings.Repeat("0", 300) + "1)\r\n", "", 0, 1},
		{"overlong answer", "PASV\r\n", "227 " + strings.Repeat("x", 1000) + "(10,0,0,5,4,1)\r\n", "227 " + strings.Repeat("x", 1000) + "(192,0,2,1,4,1)\r\n", 1, 0},
		{"the VIP in the answer", "PASV\r\n", "227 (192,0,2,1,4,1)\r\n", "", 1, 0},
		{"extended with an address", "EPSV\r\n", "229 (|1|10.0.0.5|1025|)\r\n", "229 (|||1025|)\r\n", 1, 0},
		{"extended with another address", "EPSV\r\n", "229 (|1|10.0.0.12|1025|)\r\n", "", 0, 1},
		{"the wrong answer", "EPSV\r\n", "227 (10,0,0,5,4,1)\r\n", "", 0, 0},
		{"EPSV ALL", "EPSV ALL\r\n", "229 (|||1025|)\r\n", "", 0, 0},
		{"EPSV 1", "EPSV 1\r\n", "229 (|||1025|)\r\n", "", 1, 0},
		{"EPSV 2", "EPSV 2\r\n", "229 (|||1025|)\r\n", "", 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFTPBed4(t).open()
			if got := string(b.segment(false, wire.ACK, 1000, 1000, []byte(tt.command)).tcp().Payload()); got != tt.command {
				t.Errorf("the command became %q", got)
			}
			out := b.segment(true, wire.ACK, 1000, 1000+uint32(len(tt.command)), []byte(tt.reply))
			want := tt.want
			if want == "" {
				want = tt.reply
			}
			if got := string(out.tcp().Payload()); got != want {
				t.Errorf("the client got %q, want %q", got, want)
			}
			if n := b.counters("ftp"); n.Expected != tt.expects || n.Refused != tt.refuse || len(b.conns()) != int(tt.expects) {
				t.Errorf("counted %+v, %d connections", n, len(b.conns()))
			}
		})
	}
}

// A changed packet needs room, and may become too long for the client's link.
func TestFTPGrownPacket(t *testing.T) {
	line := "227 Entering Passive Mode (10,0,0,5,195,80).\r\n"
	for _, tt := range []struct {
		name    string
		spare   int // bytes behind the frame in its memory
		payload int
		gso     int
		partial bool
	}{
		{"room behind the frame", 100, 0, 0, false},
		{"no room", 0, 0, 0, false},
		{"as long as the link takes", 100, 1460, 0, false},
		{"as long as the link takes, checksum to be completed", 0, 1460, 0, true},
		{"a super-frame", 100, 9000, 1460, true},
		{"a super-frame, no room", 0, 9000, 1460, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newFTPBed4(t).open()
			b.segment(false, wire.ACK, 1000, 1000, []byte("PASV\r\n"))
			payload := append([]byte(line), bytes.Repeat([]byte("x"), max(0, tt.payload-len(line)))...)
			f := packet(ProtoTCP, b.rip, b.client, wire.ACK, payload)
			f.Buf = append(make([]byte, 0, len(f.Buf)+tt.spare), f.Buf...)
			tcp := wire.TCP(f.Eth()[wire.EthernetLen+wire.IPv4MinLen:])
			tcp.MoveSeq(1000, false)
			tcp.MoveAck(1006, false)
			if tt.partial {
				f.VNet().Segment(false, wire.EthernetLen+40, wire.EthernetLen+20, tt.gso)
				if tt.gso == 0 {
					f.VNet().Whole()
				}
				tcp.SetChecksum(wire.Fold(wire.IP(f.Eth()[wire.EthernetLen:]).PseudoSum(ProtoTCP, len(tcp))))
			}
			v, out := b.in(serverNIC, f)
			if v != forwarded || len(out) != 1 {
				t.Fatalf("%v (%v)", v, v.Reason)
			}
			o := &out[0]
			want := strings.Replace(string(payload), "10,0,0,5", "192,0,2,1", 1)
			if got := string(o.tcp().Payload()); got != want {
				t.Errorf("the client got %q, want %q", got, want)
			}
			segmented := o.VNet().GSOType() != nic.VNetGSONone
			if wantSegmented := len(want) > 1460; segmented != wantSegmented || segmented && o.VNet().GSOSize() != 1460 {
				t.Errorf("virtio-net header % x", o.VNet())
			}
			if o.VNet().Partial() {
				completeChecksum(o.Eth()[:o.pkt.End], o.VNet())
			}
			o.checksums(t)
		})
	}
}

func TestHelperChecksums(t *testing.T) {
	b := newFTPBed4(t).open()
	f := packet(ProtoTCP, b.client, b.vip, wire.ACK, []byte("PASV\r\n"))
	f.Buf[len(f.Buf)-1] ^= 1
	if v, _ := b.in(clientNIC, f); v != drop(BadChecksum) {
		t.Errorf("a wrong checksum: %v (%v)", v, v.Reason)
	}
	f = packet(ProtoTCP, b.client, b.vip, wire.ACK, []byte("PASV\r\n"))
	wire.TCP(f.Eth()[34:])[12] = 0xf0
	if v, _ := b.in(clientNIC, f); v != drop(Truncated) {
		t.Errorf("a header longer than the packet: %v (%v)", v, v.Reason)
	}
}

// Connections that do not masquerade, and those to other ports, have no helper.
func TestHelperPorts(t *testing.T) {
	has := func(b *ftpBed) bool {
		found := false
		b.e.Table().Range(func(c *conntrack.Conn) bool {
			found = found || b.e.Table().HomeOf(c).Ext(c) != nil
			return true
		})
		return found
	}
	for _, tt := range []struct {
		name   string
		ports  []uint16
		port   uint16
		method string
		want   bool
	}{
		{"by default", nil, 21, "-m", true},
		{"another port", nil, 2121, "-m", false},
		{"a port that was set", []uint16{21, 2121}, 2121, "-m", true},
		{"off", []uint16{}, 21, "-m", false},
		{"direct routing", nil, 21, "-g", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := &ftpBed{newBed(t, Options{}), client, addrPort(vip.Addr(), tt.port), rip}
			if tt.ports != nil {
				b.e.Update(func(tx *Tx) {
					if err := tx.SetHelpers([]HelperSpec{{"ftp", tt.ports}}); err != nil {
						t.Fatal(err)
					}
				})
			}
			b.command(fmt.Sprintf("-A -t %s -s rr", b.vip), fmt.Sprintf("-a -t %s -r %s %s", b.vip, b.rip, tt.method))
			b.in(clientNIC, packet(ProtoTCP, client, b.vip, wire.SYN, nil))
			if got := has(b); got != tt.want {
				t.Errorf("has a helper: %v", got)
			}
		})
	}
	b := newBed(t, Options{})
	for _, specs := range [][]HelperSpec{
		{{"irc", []uint16{6667}}},
		{{"ftp", []uint16{0}}},
		{{"ftp", []uint16{1}}},
		{{"ftp", []uint16{21, 21}}},
		{{"ftp", []uint16{2, 3, 4, 5, 6, 7, 8, 9, 10}}},
	} {
		b.e.Update(func(tx *Tx) {
			if err := tx.SetHelpers(specs); err == nil {
				t.Errorf("%v was taken", specs)
			}
		})
	}
}

func TestTFTP(t *testing.T) {
	b := newBed(t, Options{})
	at := addrPort(vip.Addr(), 69)
	b.command("-A -u 192.0.2.1:69 -s rr", "-a -u 192.0.2.1:69 -r 10.0.0.11:6969 -m")
	send := func(index int, from, to netip.AddrPort, payload string) (netip.AddrPort, netip.AddrPort) {
		t.Helper()
		v, out := b.in(index, packet(ProtoUDP, from, to, 0, []byte(payload)))
		if v != forwarded {
			t.Fatalf("%q: %v (%v)", payload, v.Kind, v.Reason)
		}
		out[0].checksums(t)
		return AddrPort(out[0].pkt.Src, out[0].pkt.SrcPort), AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort)
	}
	real, transfer := addrPort(rip.Addr(), 6969), addrPort(rip.Addr(), 41000)
	for round := range uint16(3) {
		transfer = addrPort(transfer.Addr(), transfer.Port()+round)
		// The request, which comes again before it is answered.
		for range 2 {
			if _, to := send(clientNIC, client, at, "\x00\x01file\x00octet\x00"); to != real {
				t.Fatalf("a request to %v, want %v", to, real)
			}
		}
		if from, _ := send(serverNIC, transfer, client, "\x00\x03\x00\x01data"); from != at {
			t.Fatalf("an answer from %v, want %v", from, at)
		}
		if _, to := send(clientNIC, client, at, "\x00\x04\x00\x01"); to != transfer {
			t.Fatalf("an acknowledgment to %v, want %v", to, transfer)
		}
		if v, _ := b.in(serverNIC, packet(ProtoUDP, addrPort(rip.Addr(), 40999), client, 0, []byte("\x00\x03"))); v == forwarded {
			t.Fatal("a second port of the server was taken")
		}
	}
	if n := b.e.Table().Len(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	// Of what is no request the server's port is not asked for.
	if v, _ := b.in(clientNIC, packet(ProtoUDP, addrPort(client.Addr(), 1), at, 0, []byte("\x00\x04"))); v != forwarded {
		t.Fatal(v)
	}
	if v, _ := b.in(serverNIC, packet(ProtoUDP, transfer, addrPort(client.Addr(), 1), 0, nil)); v == forwarded {
		t.Error("an answer from any port to what was no request")
	}
}

func TestHelpersAllocateNothing(t *testing.T) {
	b := newFTPBed4(t).open()
	w := b.workers[clientNIC]
	var batch nic.Batch
	batch.N = 1
	command := packet(ProtoTCP, b.client, b.vip, wire.ACK, []byte("PASV\r\n"))
	reply := packet(ProtoTCP, b.rip, b.client, wire.ACK, []byte("227 Entering Passive Mode (10,0,0,5,195,80).\r\n"))
	buf := make([]byte, 0, 4096)
	rounds := uint32(0)
	run := func(f *nic.Frame, fromServer bool) {
		batch.Frames[0] = *f
		batch.Frames[0].Buf = append(buf, f.Buf...)
		tcp := wire.TCP(batch.Frames[0].Buf[nic.VNetHdrLen+wire.EthernetLen+wire.IPv4MinLen:])
		if fromServer {
			tcp.MoveSeq(1000+46*rounds, false)
			tcp.MoveAck(1006+6*rounds, false)
		} else {
			tcp.MoveSeq(1000+6*rounds, false)
			tcp.MoveAck(1000+47*rounds, false) // a byte more for each reply
		}
		b.now += 1e6
		w.Process(&batch, b.now)
		if v := w.Verdict(0); v != forwarded {
			t.Fatalf("%v (%v)", v, v.Reason)
		}
		w.Commit()
	}
	if n := testing.AllocsPerRun(200, func() {
		run(&command, false)
		run(&reply, true)
		rounds++
	}); n != 0 {
		t.Errorf("a command and its reply allocate %v times", n)
	}
	if n := b.counters("ftp"); n.Changed != 201 || n.Expected != 201 {
		t.Errorf("counted %+v", n)
	}
}

// FuzzHelpers has both ends of a control connection say anything. Nothing may
// panic, and what leaves has right lengths and checksums.
func FuzzHelpers(f *testing.F) {
	f.Add([]byte("PASV\r\n"), []byte("227 (10,0,0,5,4,1)\r\n"), uint16(6), uint16(0), uint16(3), byte(0))
	f.Add([]byte("EPSV 1\r\nPORT 192,0,2,7,1,2\r\n"), []byte("229 (|||1025|)\r\n227 (10,0,0,5,4,1)\r\n"), uint16(9), uint16(0), uint16(30), byte(3))
	f.Add([]byte("EPRT |2|2001:db8:1::7|99|\r\nPASV\r\n"), []byte("227 =10,0,0,5,4,1\n227 =10,0,0,5,4,1\n"), uint16(2), uint16(1), uint16(7), byte(7))
	f.Fuzz(func(t *testing.T, command, reply []byte, ack, at, cut uint16, how byte) {
		b := newFTPBed4(t)
		if how&1 != 0 {
			b = newFTPBed6(t)
		}
		b.open()
		command, reply = command[:min(len(command), 1400)], reply[:min(len(reply), 1400)]
		send := func(server bool, seq, ack uint32, payload []byte) {
			from, to, index := b.client, b.vip, clientNIC
			if server {
				from, to, index = b.rip, b.client, serverNIC
			}
			fr := packet(ProtoTCP, from, to, wire.ACK|how&wire.FIN, payload)
			tcp := wire.TCP(fr.Eth()[len(fr.Eth())-len(payload)-wire.TCPMinLen:])
			tcp.MoveSeq(seq, false)
			tcp.MoveAck(ack, false)
			_, out := b.in(index, fr)
			for i := range out {
				out[i].checksums(t)
			}
		}
		for _, n := range []int{int(cut) % (len(command) + 1), len(command)} {
			send(false, 1000, 1000+uint32(ack), command[:n])
			send(false, 1000+uint32(n), 1000+uint32(at), command[n:])
		}
		for _, n := range []int{int(at) % (len(reply) + 1), int(cut) % (len(reply) + 1), len(reply)} {
			send(true, 1000, 1000, reply[:n])
			send(false, 1000+uint32(len(command)), 1000+uint32(ack), nil)
			send(true, 1000+uint32(n), 1000, reply[n:])
			send(true, 1000+uint32(at), 1000, reply[n:])
			send(false, 1000, 1000+uint32(cut), command)
		}
	})
}
