package nat

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/wire"
	"vsnat/nic"
)

var (
	sctpVIP = netip.MustParseAddrPort("192.0.2.1:3868")
	sctpRIP = netip.MustParseAddrPort("10.0.0.11:3869")
)

// sctpTag is the verification tag of the packets that chunks makes, and initTag what
// their INITs offer.
const (
	sctpTag = 0x01020304
	initTag = 0x0a0b0c0d
)

// chunks makes a frame with an SCTP packet, its checksum right, of chunks of these
// types.
func chunks(src, dst netip.AddrPort, types ...uint8) nic.Frame {
	body := make([]byte, wire.SCTPLen)
	for _, typ := range types {
		value := 8 // bytes; with the chunk's header a multiple of 4
		switch typ {
		case wire.SCTPInit, wire.SCTPInitAck:
			value = 16
		case wire.SCTPCookieEcho:
			value = 5 // is padded
		case wire.SCTPAbort, wire.SCTPCookieAck, wire.SCTPShutdownAck, wire.SCTPShutdownComplete:
			value = 0
		}
		chunk := make([]byte, (4+value+3)&^3)
		chunk[0] = typ
		binary.BigEndian.PutUint16(chunk[2:], uint16(4+value))
		if typ == wire.SCTPInit {
			binary.BigEndian.PutUint32(chunk[4:], initTag)
		}
		body = append(body, chunk...)
	}
	s := wire.SCTP(body)
	binary.BigEndian.PutUint16(s, src.Port())
	binary.BigEndian.PutUint16(s[2:], dst.Port())
	binary.BigEndian.PutUint32(s[4:], sctpTag)
	s.SetChecksum(s.CalculateChecksum())
	return packetOf(ProtoSCTP, src.Addr(), dst.Addr(), s)
}

// newSCTPBed has an SCTP service with one server: another port with masquerading,
// the same one without.
func newSCTPBed(t testing.TB, opt Options, method string) *bed {
	b := newBed(t, opt)
	server := map[string]string{"-m": "10.0.0.11:3869", "-g": "10.0.0.11:3868"}[method]
	b.command("-A --sctp-service 192.0.2.1:3868 -s rr", "-a --sctp-service 192.0.2.1:3868 -r "+server+" "+method)
	return b
}

// association returns the state, timeout in seconds and active count of the one
// association there is.
func (b *bed) association() string {
	text := "-"
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		d := b.e.known.get(c.Server)
		text = fmt.Sprintf("%s %d %d/%d", b.stateOf(c), c.Timeout()/1e9, d.Active.Load(), d.Total.Load())
		if left := c.Expires - b.now; left != c.Timeout() {
			b.t.Errorf("%s: expires in %d ns", text, left)
		}
		return true
	})
	return text
}

func TestSCTPBothWays(t *testing.T) {
	for _, c := range []struct{ client, service, server string }{
		{"192.0.2.7:40000", "192.0.2.1:3868", "10.0.0.11:3869"},
		{"[2001:db8:c::7]:40000", "[2001:db8:c::1]:3868", "[2001:db8:5::11]:3869"},
	} {
		from, service, server := netip.MustParseAddrPort(c.client), netip.MustParseAddrPort(c.service), netip.MustParseAddrPort(c.server)
		b := newBed(t, Options{Guarded: true})
		b.command("-A --sctp-service "+c.service+" -s rr", "-a --sctp-service "+c.service+" -r "+c.server+" -m")
		v, out := b.in(clientNIC, chunks(from, service, wire.SCTPInit))
		b.one(v, out, serverNIC, from, server)
		v, out = b.in(serverNIC, chunks(server, from, wire.SCTPInitAck))
		b.one(v, out, clientNIC, service, from)
		if got := b.association(); got != "C-SENT 61 0/1" {
			t.Error(got)
		}
		other := addrPort(from.Addr(), 9)
		v, out = b.in(clientNIC, chunks(other, service, wire.SCTPData))
		b.one(v, out, clientNIC, service, other)
	}
}

// Whole associations, as kernel IPVS lists them: state, timeout, and of the
// server's connections those that are active.
func TestSCTPRuns(t *testing.T) {
	for name, run := range map[string]string{
		"masquerading, client closes": `
			-m > INIT             = INIT1 4 0/1
			< INIT_ACK            = C-SENT 61 0/1
			> COOKIE_ECHO DATA    = C-REPLIED 61 0/1
			< COOKIE_ACK DATA     = ESTABLISHED 900 1/1
			> SACK                = ESTABLISHED 900 1/1
			< HEARTBEAT           = ESTABLISHED 900 1/1
			> SHUTDOWN            = S-RECEIVED 61 0/1
			< SHUTDOWN_ACK        = S-ACK-SENT 61 0/1
			> SHUTDOWN_COMPLETE   = CLOSED 61 0/1`,
		"masquerading, server closes": `
			-m > INIT             = INIT1 4 0/1
			< INIT_ACK            = C-SENT 61 0/1
			> COOKIE_ECHO         = C-REPLIED 61 0/1
			< COOKIE_ACK          = ESTABLISHED 900 1/1
			< SHUTDOWN            = S-SENT 61 0/1
			> SHUTDOWN_ACK        = CLOSED 61 0/1
			< SHUTDOWN_COMPLETE   = CLOSED 61 0/1`,
		"masquerading, refused": `
			-m > INIT             = INIT1 4 0/1
			< ABORT               = REJECTED 4 0/1
			> INIT                = INIT 61 0/1`,
		"masquerading, an ABORT behind the cookie": `
			-m > INIT             = INIT1 4 0/1
			< INIT_ACK            = C-SENT 61 0/1
			> COOKIE_ECHO ABORT   = CLOSED 61 0/1`,
		"masquerading, an ABORT behind DATA is not seen": `
			-m > INIT             = INIT1 4 0/1
			< INIT_ACK            = C-SENT 61 0/1
			> COOKIE_ECHO         = C-REPLIED 61 0/1
			< COOKIE_ACK          = ESTABLISHED 900 1/1
			> DATA ABORT          = ESTABLISHED 900 1/1
			> ABORT               = CLOSED 61 0/1`,
		"direct": `
			-g > INIT             = INIT1 4 0/1
			> COOKIE_ECHO         = ESTABLISHED 900 1/1
			> DATA                = ESTABLISHED 900 1/1
			> SHUTDOWN            = S-RECEIVED 61 0/1
			> SHUTDOWN_COMPLETE   = CLOSED 61 0/1`,
		"a packet without a chunk says nothing": `
			-m > INIT             = INIT1 4 0/1
			<                     = INIT1 4 0/1`,
	} {
		types := map[string]uint8{
			"DATA": 0, "INIT": 1, "INIT_ACK": 2, "SACK": 3, "HEARTBEAT": 4, "ABORT": 6, "SHUTDOWN": 7,
			"SHUTDOWN_ACK": 8, "COOKIE_ECHO": 10, "COOKIE_ACK": 11, "SHUTDOWN_COMPLETE": 14,
		}
		var b *bed
		server := sctpRIP
		for line := range strings.Lines(strings.TrimSpace(run)) {
			words, want, _ := strings.Cut(strings.TrimSpace(line), "=")
			f := strings.Fields(words)
			if method := f[0]; method == "-m" || method == "-g" {
				b, f = newSCTPBed(t, Options{}, method), f[1:]
			}
			var list []uint8
			for _, w := range f[1:] {
				list = append(list, types[w])
			}
			frame, at := chunks(client, sctpVIP, list...), clientNIC
			if f[0] == "<" {
				frame, at = chunks(server, client, list...), serverNIC
			}
			if v, _ := b.in(at, frame); v != forwarded {
				t.Fatalf("%s: %s: %v (%v)", name, words, v, v.Reason)
			}
			if got := b.association(); got != strings.TrimSpace(want) {
				t.Fatalf("%s: %s: %s, want %s", name, words, got, want)
			}
		}
	}
}

// TestSCTPModel has random chunks go both ways and follows the state by the table
// and the rules about directions. The association never ends in between: what ends
// it is its timer.
func TestSCTPModel(t *testing.T) {
	for _, method := range []string{"-m", "-g"} {
		b := newSCTPBed(t, Options{}, method)
		b.set(func(s *Settings) { s.ConnReuseMode = 0 })
		r := rand.New(rand.NewPCG(1, 2))
		b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
		st, oneSided := state.SCTPInit1, method == "-g"
		seen := map[state.SCTP]bool{}
		for i := range 20000 {
			list := []uint8{uint8(r.IntN(16)), uint8(r.IntN(16))}
			frame, at, dir := chunks(client, sctpVIP, list...), clientNIC, state.Input
			// The server of a direct connection is seen answering in the second half.
			if r.IntN(2) == 0 && (method == "-m" || i > 10000) {
				frame, at, dir = chunks(sctpRIP, client, list...), serverNIC, state.Output
				if method == "-g" {
					frame = chunks(sctpVIP, client, list...)
				}
				oneSided = false
			} else if oneSided {
				dir = state.InputOnly
			}
			ev := list[0]
			if (list[0] == 10 || list[0] == 11) && list[1] == 6 {
				ev = 6
			}
			st = state.NextSCTP(dir, state.SCTPEvent(ev, 0), st)
			seen[st] = true
			b.in(at, frame)
			timeouts := state.DefaultTimeouts()
			active := 0
			if st == state.SCTPEstablished {
				active = 1
			}
			want := fmt.Sprintf("%s %d %d/1", state.Name(ProtoSCTP, uint8(st)), timeouts.SCTP[st]/1e9, active)
			if got := b.association(); got != want {
				t.Fatalf("%s, packet %d (%v, direction %d): %s, want %s", method, i, list, dir, got, want)
			}
		}
		if len(seen) < 10 {
			t.Errorf("only the states %v were reached", seen)
		}
	}
}

func TestSCTPWithoutAnAssociation(t *testing.T) {
	for _, c := range []struct {
		name    string
		sloppy  bool
		guarded bool
		types   []uint8
		port    uint16 // of the client
		want    Verdict
		answer  []byte // chunk, if it is a Reply by SCTP
		state   string
	}{
		{"INIT", false, true, []uint8{wire.SCTPInit}, 0, forwarded, nil, "INIT1 4 0/1"},
		{"DATA", false, true, []uint8{wire.SCTPData}, 0, replied, []byte{wire.SCTPAbort, 1, 0, 4}, "-"},
		{"DATA, not guarded", false, false, []uint8{wire.SCTPData}, 0, passed, nil, "-"},
		{"DATA, sloppy", true, true, []uint8{wire.SCTPData}, 0, forwarded, nil, "ESTABLISHED 900 1/1"},
		{"SHUTDOWN ACK", false, true, []uint8{wire.SCTPShutdownAck}, 0, replied, []byte{wire.SCTPShutdownComplete, 1, 0, 4}, "-"},
		{"COOKIE ECHO, sloppy", true, true, []uint8{wire.SCTPCookieEcho}, 0, forwarded, nil, "C-REPLIED 61 0/1"},
		{"ABORT", false, true, []uint8{wire.SCTPAbort}, 0, drop(NoAnswer), nil, "-"},
		{"ABORT, sloppy", true, true, []uint8{wire.SCTPAbort}, 0, drop(NoAnswer), nil, "-"},
		{"an ABORT behind the cookie, sloppy", true, true, []uint8{wire.SCTPCookieEcho, wire.SCTPAbort}, 0, forwarded, nil, "CLOSED 61 0/1"},
		{"no chunk", true, true, nil, 0, drop(Truncated), nil, "-"},
		{"INIT from port 20", false, true, []uint8{wire.SCTPInit}, 20, replied, []byte{wire.SCTPAbort, 0, 0, 4}, "-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newSCTPBed(t, Options{Guarded: c.guarded}, "-m")
			b.set(func(s *Settings) { s.SloppySCTP = c.sloppy })
			from := client
			if c.port != 0 {
				from = addrPort(client.Addr(), c.port)
			}
			v, out := b.in(clientNIC, chunks(from, sctpVIP, c.types...))
			if v != c.want || b.association() != c.state {
				t.Fatalf("%v (%v), %s", v, v.Reason, b.association())
			}
			if c.answer == nil {
				return
			}
			out[0].checksums(t)
			s := wire.SCTP(out[0].Eth()[out[0].pkt.L4:out[0].pkt.End])
			tag := uint32(sctpTag)
			if c.types[0] == wire.SCTPInit {
				tag = initTag
			}
			if AddrPort(out[0].pkt.Src, out[0].pkt.SrcPort) != sctpVIP || AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort) != from ||
				s.Tag() != tag || !slices.Equal(s[wire.SCTPLen:], c.answer) {
				t.Errorf("answered with %x", s)
			}
		})
	}
	t.Run("wrong checksum", func(t *testing.T) {
		b := newSCTPBed(t, Options{Guarded: true}, "-m")
		f := chunks(client, sctpVIP, wire.SCTPData)
		f.Buf[len(f.Buf)-1]++
		if v, _ := b.in(clientNIC, f); v != drop(BadChecksum) {
			t.Errorf("%v (%v)", v, v.Reason)
		}
	})
	t.Run("no server", func(t *testing.T) {
		b := newSCTPBed(t, Options{Guarded: true}, "-m")
		b.command("-e --sctp-service 192.0.2.1:3868 -r 10.0.0.11:3869 -m -w 0")
		v, out := b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
		if v != replied || out[0].pkt.ICMPType != wire.ICMPv4DstUnreachable || out[0].pkt.ICMPCode != wire.ICMPv4PortUnreachable {
			t.Errorf("%v (%v)", v, v.Reason)
		}
	})
}

// An INIT on an association that is CLOSED begins another one, one on another does
// not (is_new_conn_expected).
func TestSCTPReuse(t *testing.T) {
	for _, c := range []struct {
		mode   int
		close  bool
		reused bool
	}{{1, true, true}, {2, true, true}, {0, true, false}, {1, false, false}} {
		b := newSCTPBed(t, Options{}, "-m")
		b.command("-a --sctp-service 192.0.2.1:3868 -r 10.0.0.12:3869 -m")
		b.set(func(s *Settings) { s.ConnReuseMode = c.mode })
		_, out := b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
		first := out[0].pkt.Dst
		if c.close {
			b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPAbort))
		}
		v, out := b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
		if v != forwarded || (out[0].pkt.Dst != first) != c.reused {
			t.Errorf("mode %d, closed %v: %v, to another server: %v", c.mode, c.close, v, out[0].pkt.Dst != first)
		}
	}
}

// With expire_nodest_conn an INIT on an association whose server has weight 0
// begins another one.
func TestSCTPQuiescedServer(t *testing.T) {
	b := newSCTPBed(t, Options{}, "-m")
	b.set(func(s *Settings) { s.ExpireNodestConn = true })
	b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
	b.command("-e --sctp-service 192.0.2.1:3868 -r 10.0.0.11:3869 -m -w 0", "-a --sctp-service 192.0.2.1:3868 -r 10.0.0.12:3869 -m")
	if _, out := b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPData)); out[0].pkt.Dst != sctpRIP.Addr().As16() {
		t.Error("DATA went to another server")
	}
	if _, out := b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit)); out[0].pkt.Dst == sctpRIP.Addr().As16() {
		t.Error("INIT went to the server of weight 0")
	}
}

func TestSCTPTemplate(t *testing.T) {
	b := newSCTPBed(t, Options{}, "-m")
	b.command("-E --sctp-service 192.0.2.1:3868 -s rr -p 100")
	b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
	if c := b.template(); c.Proto != ProtoSCTP || c.VirtualPort != 3868 || c.DestPort != 3869 {
		t.Errorf("template %+v", c)
	}
	for _, step := range []struct {
		typ  uint8
		want string
	}{{wire.SCTPInitAck, "NONE"}, {wire.SCTPCookieAck, "ASSURED"}} {
		b.in(serverNIC, chunks(sctpRIP, client, step.typ))
		b.e.Table().Range(func(c *conntrack.Conn) bool {
			if name := b.stateOf(c); c.Flags&conntrack.Template != 0 && name != step.want {
				t.Errorf("after chunk %d the template is %s", step.typ, name)
			}
			return true
		})
	}
}

// What the host left to its NIC to complete is complete when it leaves, also when
// nothing is rewritten.
func TestSCTPPartialChecksum(t *testing.T) {
	for _, method := range []string{"-m", "-g"} {
		b := newSCTPBed(t, Options{}, method)
		f := chunks(client, sctpVIP, wire.SCTPInit)
		wire.SCTP(f.Eth()[wire.EthernetLen+wire.IPv4MinLen:]).SetChecksum(0)
		f.VNet()[0] = nic.VNetNeedsCsum
		_, out := b.in(clientNIC, f)
		if len(out) != 1 || out[0].VNet().Partial() {
			t.Fatalf("%s: %d frames", method, len(out))
		}
		out[0].checksums(t)
	}
}

// The checksum is over the whole packet, and of a first fragment only a part is
// there: it goes on where no port changes, else it is dropped, with all others.
func TestSCTPFragments(t *testing.T) {
	for method, want := range map[string]Verdict{"-m": drop(Fragment), "-g": forwarded} {
		b := newSCTPBed(t, Options{Guarded: true}, method)
		b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
		for i, f := range cut(chunks(client, sctpVIP, make([]uint8, 20)...), 64, 7) {
			if v, _ := b.in(clientNIC, f); v != want {
				t.Errorf("%s, fragment %d: %v (%v)", method, i, v, v.Reason)
			}
		}
	}
	b := newSCTPBed(t, Options{Guarded: true}, "-m")
	b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
	for i, f := range cut(chunks(sctpRIP, client, make([]uint8, 20)...), 64, 7) {
		if v, _ := b.in(serverNIC, f); v != drop(Fragment) {
			t.Errorf("from the server, fragment %d: %v (%v)", i, v, v.Reason)
		}
	}
}

func TestSCTPQuotedByErrors(t *testing.T) {
	b := newSCTPBed(t, Options{Guarded: true}, "-m")
	_, out := b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
	toServer := wire.IPv4(out[0].Eth()[wire.EthernetLen:])
	f := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+600)}
	wire.Ethernet(f.Eth()).SetType(wire.TypeIPv4)
	n := wire.BuildICMPv4Error(f.Eth()[wire.EthernetLen:], [4]byte{10, 0, 0, 11}, 1, wire.ICMPv4DstUnreachable, 2, 0, toServer)
	f.Buf = f.Buf[:nic.VNetHdrLen+wire.EthernetLen+n]
	f.WireLen = len(f.Eth())
	v, out := b.in(serverNIC, f)
	if v != forwarded || len(out) != 1 {
		t.Fatalf("%v (%v)", v, v.Reason)
	}
	out[0].checksums(t)
	var q wire.Packet
	if r := q.ParseQuoted(wire.ICMPv4(out[0].Eth()[out[0].pkt.L4:]).Payload(), 0, false); r != wire.Parsed ||
		out[0].pkt.Src != sctpVIP.Addr().As16() || AddrPort(q.Dst, q.DstPort) != sctpVIP {
		t.Errorf("%v, quoted %+v", r, q)
	}
}

// Policies for the life of servers treat an association as a TCP connection, an
// ABORT taking the place of the reset.
func TestSCTPLife(t *testing.T) {
	k := ServiceKey{Proto: ProtoSCTP, Addr: sctpVIP.Addr().As16(), Port: sctpVIP.Port()}
	abort := func(s sent, src, dst netip.AddrPort, flags uint8) {
		t.Helper()
		s.checksums(t)
		b := wire.SCTP(s.Eth()[s.pkt.L4:s.pkt.End])
		if AddrPort(s.pkt.Src, s.pkt.SrcPort) != src || AddrPort(s.pkt.Dst, s.pkt.DstPort) != dst || b.Tag() != sctpTag ||
			!slices.Equal(b[wire.SCTPLen:], []byte{wire.SCTPAbort, flags, 0, 4}) {
			t.Errorf("%+v: %x", s.pkt, b)
		}
	}
	for _, fromClient := range []bool{true, false} {
		b := lifeBed{bed: newSCTPBed(t, Options{Guarded: true}, "-m")}
		b.life(k, policy(Removed, Established, ResetBoth))
		b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPInit))
		b.in(serverNIC, chunks(sctpRIP, client, wire.SCTPCookieAck))
		b.befall(k, sctpRIP, Removed)
		var out []sent
		if fromClient {
			_, out = b.in(clientNIC, chunks(client, sctpVIP, wire.SCTPData))
		} else {
			_, out = b.in(serverNIC, chunks(sctpRIP, client, wire.SCTPData))
		}
		if len(out) != 2 {
			t.Fatalf("%d answers", len(out))
		}
		if fromClient {
			abort(out[0], sctpVIP, client, 1)
			abort(out[1], client, sctpRIP, 0)
		} else {
			abort(out[0], client, sctpRIP, 1)
			abort(out[1], sctpVIP, client, 0)
		}
		if got := b.association(); got != "CLOSED 61 0/1" {
			t.Errorf("the association is %s", got)
		}
		if c := b.counts(k, sctpRIP); c.Reset != 1 {
			t.Errorf("counted %+v", c)
		}
	}
}
