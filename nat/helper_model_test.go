package nat

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"vsnat/nat/wire"
)

// ftpBed is a bed with an FTP service, and an open control connection to it.
type ftpBed struct {
	*bed
	client, vip, rip netip.AddrPort
}

func newFTPBed(t testing.TB, client, vip, rip string) *ftpBed {
	b := &ftpBed{newBed(t, Options{}), netip.MustParseAddrPort(client), netip.MustParseAddrPort(vip), netip.MustParseAddrPort(rip)}
	if b.vip.Addr().Is6() {
		b.routes.local = append(b.routes.local, b.vip.Addr())
		for _, r := range []testRoute{b.routes.routes[0], b.routes.routes[1]} {
			to := b.client.Addr()
			if r.hop.Index == serverNIC {
				to = b.rip.Addr()
			}
			r.to = netip.PrefixFrom(to, 64).Masked()
			b.routes.routes = append(b.routes.routes, r)
		}
		b.e.SetRoutes(b.routes)
	}
	b.command(fmt.Sprintf("-A -t %s -s rr", b.vip), fmt.Sprintf("-a -t %s -r %s -m", b.vip, b.rip))
	return b
}

func newFTPBed4(t testing.TB) *ftpBed {
	return newFTPBed(t, "192.0.2.7:40000", "192.0.2.1:21", "10.0.0.5:2121")
}

func newFTPBed6(t testing.TB) *ftpBed {
	return newFTPBed(t, "[2001:db8:1::7]:40000", "[2001:db8:2::1]:21", "[2001:db8:3::11]:21")
}

// segment has the engine judge a segment from the client or the server, and
// returns what came out at the other side, or nil.
func (b *ftpBed) segment(fromServer bool, flags uint8, seq, ack uint32, payload []byte) *sent {
	b.t.Helper()
	index, src, dst := clientNIC, b.client, b.vip
	if fromServer {
		index, src, dst = serverNIC, b.rip, b.client
	}
	f := packet(ProtoTCP, src, dst, flags, payload)
	tcp := wire.TCP(f.Eth()[len(f.Eth())-len(payload)-wire.TCPMinLen:])
	tcp.MoveSeq(seq, false)
	tcp.MoveAck(ack, false)
	v, out := b.in(index, f)
	if v == drop(HelperWaits) {
		return nil
	}
	if v != forwarded || len(out) != 1 {
		b.t.Fatalf("segment from server %v, %q: %v (%v), %d frames", fromServer, payload, v.Kind, v.Reason, len(out))
	}
	out[0].checksums(b.t)
	return &out[0]
}

func (s *sent) tcp() wire.TCP { return wire.TCP(s.Eth()[s.pkt.L4:s.pkt.End]) }

// peer is one end of a TCP connection: enough of it to send in any pieces, to lose,
// and to send again.
type peer struct {
	server   bool
	data     []byte // all it wants to send, in the course of time
	isn      uint32
	una, nxt int    // bytes acknowledged and sent
	got      []byte // received in order
	early    map[int][]byte
	peerISN  uint32
}

// next returns a piece to send: new, or again.
func (p *peer) next(r *rand.Rand, nagle bool) (off int, piece []byte) {
	fresh := p.data[p.nxt:]
	if p.una < p.nxt && (len(fresh) == 0 || nagle || r.IntN(3) == 0) {
		off = p.una
		if r.IntN(2) == 0 {
			off += r.IntN(p.nxt - p.una)
		}
		n := 1 + r.IntN(p.nxt-off)
		return off, p.data[off : off+n]
	}
	if len(fresh) == 0 {
		return 0, nil
	}
	n := 1 + r.IntN(min(len(fresh), 1+r.IntN(60)))
	off = p.nxt
	p.nxt += n
	return off, p.data[off : off+n]
}

// take deals with a segment that arrived.
func (p *peer) take(t testing.TB, tcp wire.TCP) {
	t.Helper()
	ack := int(int32(tcp.Ack() - p.isn - 1))
	if ack > p.nxt {
		t.Fatalf("%q was acknowledged up to %d, and sent up to %d", p.data, ack, p.nxt)
	}
	p.una = max(p.una, ack)
	off := int(int32(tcp.Seq() - p.peerISN - 1))
	if b := tcp.Payload(); len(b) > 0 {
		p.early[off] = append([]byte(nil), b...)
	}
	for again := true; again; {
		again = false
		for off, b := range p.early {
			if off <= len(p.got) {
				if off+len(b) > len(p.got) {
					p.got = append(p.got, b[len(p.got)-off:]...)
				}
				delete(p.early, off)
				again = true
			}
		}
	}
}

// session is an FTP session as client and server see it.
type session struct {
	commands, replies []string // one reply a command, the first without
	want              []string // replies as the client must get them
	ports             []uint16 // that the server listens on
	active            []uint16 // that the client listens on
}

func sessionOf(r *rand.Rand, b *ftpBed) session {
	s := session{replies: []string{"220 hello\r\n"}, want: []string{"220 hello\r\n"}}
	add := func(c, reply, want string) {
		s.commands, s.replies, s.want = append(s.commands, c), append(s.replies, reply), append(s.want, want)
	}
	numbers := func(a netip.Addr, port uint16) string {
		n := a.As4()
		return fmt.Sprintf("%d,%d,%d,%d,%d,%d", n[0], n[1], n[2], n[3], port>>8, port&0xff)
	}
	for range 2 + r.IntN(8) {
		port := uint16(1024 + r.IntN(60000))
		switch k := r.IntN(6); {
		case k == 5 && b.vip.Addr().Is4() && r.IntN(2) == 0:
			add("PORT "+numbers(b.client.Addr(), port)+"\r\n", "200 ok\r\n", "200 ok\r\n")
			s.active = append(s.active, port)
		case k == 5:
			family := 1
			if b.vip.Addr().Is6() {
				family = 2
			}
			add(fmt.Sprintf("EPRT |%d|%s|%d|\r\n", family, b.client.Addr(), port), "200 ok\r\n", "200 ok\r\n")
			s.active = append(s.active, port)
		case k == 0 && b.vip.Addr().Is4():
			text := "227 Entering Passive Mode (%s).\r\n"
			if r.IntN(3) == 0 {
				text = "227-some\r\n 227 text\r\n227 =%s\r\n"
			}
			add("PASV\r\n", fmt.Sprintf(text, numbers(b.rip.Addr(), port)), fmt.Sprintf(text, numbers(b.vip.Addr(), port)))
			s.ports = append(s.ports, port)
		case k == 1:
			text := fmt.Sprintf("229 Extended Passive Mode (|||%d|)\r\n", port)
			add("EPSV\r\n", text, text)
			s.ports = append(s.ports, port)
		case k == 2 && b.vip.Addr().Is4():
			add("PASV\r\n", "425 no\r\n", "425 no\r\n")
		case k == 3:
			add("TYPE I\r\n", "200 ok\r\n", "200 ok\r\n")
		default:
			add("LIST\r\n", "150 here\r\n226 sent\r\n", "150 here\r\n226 sent\r\n")
		}
	}
	return s
}

// TestFTPModel has two ends talk FTP through the engine, in any pieces, with loss,
// overtaking and repetition, in lockstep or pipelined. The client must get what the
// server wrote, the VIP in its address's place, each end must see nothing
// acknowledged that it has not sent, and the data connections must be there.
func TestFTPModel(t *testing.T) {
	for seed := range uint64(100) {
		for name, bed := range map[string]func(testing.TB) *ftpBed{
			"grows": newFTPBed4,
			"shrinks": func(t testing.TB) *ftpBed {
				return newFTPBed(t, "192.0.2.7:40000", "192.0.2.1:21", "10.0.0.123:21")
			},
			"as long": func(t testing.TB) *ftpBed { return newFTPBed(t, "192.0.2.7:40000", "192.0.2.1:21", "10.0.0.12:21") },
			"IPv6":    newFTPBed6,
		} {
			t.Run(fmt.Sprint(name, "/", seed), func(t *testing.T) { runFTPModel(t, bed(t), rand.New(rand.NewPCG(seed, 1))) })
		}
	}
}

func runFTPModel(t *testing.T, b *ftpBed, r *rand.Rand) {
	s := sessionOf(r, b)
	pipelined, nagle, loss := r.IntN(2) == 0, r.IntN(2) == 0, r.IntN(30)
	c := &peer{isn: r.Uint32(), early: map[int][]byte{}}
	d := &peer{server: true, isn: -uint32(r.IntN(300)), early: map[int][]byte{}}
	c.peerISN, d.peerISN = d.isn, c.isn
	b.segment(false, wire.SYN, c.isn, 0, nil)
	b.segment(true, wire.SYN|wire.ACK, d.isn, c.isn+1, nil)
	b.segment(false, wire.ACK, c.isn+1, d.isn+1, nil)

	type flying struct {
		to  *peer
		tcp wire.TCP
	}
	var wire1 []flying
	send := func(from *peer, off int, piece []byte) {
		to := c
		if from == c {
			to = d
		}
		if r.IntN(100) < loss {
			return // before the director
		}
		out := b.segment(from.server, wire.ACK, from.isn+1+uint32(off), from.peerISN+1+uint32(len(from.got)), piece)
		if out == nil || r.IntN(100) < loss {
			return // by the director, or behind it
		}
		wire1 = append(wire1, flying{to, append(wire.TCP(nil), out.tcp()...)})
	}
	for steps := 0; ; steps++ {
		// What each has to say, as far as it knows.
		done := bytes.Count(d.got, []byte("\n"))
		said := bytes.Join(bytesOf(s.replies[:min(done, len(s.commands))+1]), nil)
		d.data = said
		asked := len(s.commands)
		if !pipelined {
			asked = 0
			have := 0
			for i, w := range s.want[:len(s.commands)] {
				if have += len(w); len(c.got) >= have {
					asked = i + 1
				}
			}
		}
		c.data = bytes.Join(bytesOf(s.commands[:asked]), nil)
		if done == len(s.commands) && d.una == len(d.data) && c.una == len(c.data) {
			break
		}
		if steps > 20000 {
			t.Fatalf("stuck: server sent %d of %d, acknowledged %d, has %q; client sent %d of %q, acknowledged %d; has\n%q\nwants\n%q", d.nxt, len(d.data), d.una, d.got, c.nxt, c.data, c.una, c.got, s.want)
		}
		p := c
		if r.IntN(2) == 0 {
			p = d
		}
		if off, piece := p.next(r, nagle); piece != nil {
			send(p, off, piece)
		}
		for len(wire1) > 0 && r.IntN(3) > 0 {
			i := 0
			if r.IntN(10) == 0 {
				i = r.IntN(len(wire1))
			}
			f := wire1[i]
			wire1 = append(wire1[:i], wire1[i+1:]...)
			f.to.take(t, f.tcp)
			if len(f.tcp.Payload()) > 0 {
				send(f.to, f.to.nxt, nil) // acknowledges
			}
		}
	}
	if got, want := string(c.got), string(bytes.Join(bytesOf(s.want), nil)); got != want {
		t.Fatalf("the client got\n%q\nwant\n%q", got, want)
	}
	for _, port := range s.active {
		to := addrPort(b.client.Addr(), port)
		v, out := b.in(serverNIC, packet(ProtoTCP, addrPort(b.rip.Addr(), b.rip.Port()-1), to, wire.SYN, nil))
		if v != forwarded || AddrPort(out[0].pkt.Src, out[0].pkt.SrcPort) != addrPort(b.vip.Addr(), b.vip.Port()-1) {
			t.Fatalf("data connection from the server to port %d: %v (%v)", port, v.Kind, v.Reason)
		}
	}
	for i, port := range s.ports {
		from := addrPort(b.client.Addr(), uint16(50000+i))
		v, out := b.in(clientNIC, packet(ProtoTCP, from, addrPort(b.vip.Addr(), port), wire.SYN, nil))
		if v != forwarded || AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort) != addrPort(b.rip.Addr(), port) {
			t.Fatalf("data connection to port %d: %v (%v)", port, v.Kind, v.Reason)
		}
	}
}

func bytesOf(s []string) (all [][]byte) {
	for _, v := range s {
		all = append(all, []byte(v))
	}
	return all
}
