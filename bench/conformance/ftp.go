package conformance

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"

	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
)

// FTP stands for a run of FTP sessions, whose control connections are read by the
// helper: by the kernel's ip_vs_ftp, if that is loaded.
const FTP = "ftp"

// ftpSession is one control connection as its two ends count.
type ftpSession struct {
	g               *generator
	key             nat.ServiceKey
	control         Packet
	server          netip.AddrPort
	sent, got       uint32 // next sequence numbers of the client's stream and of the server's
	grown           uint32 // how much longer the server's stream is at the client
	dataPort, ports uint16
}

// generateFTP makes a run of sessions with one server each, of which every
// announcement is one that vsnat believes as the kernel does.
func generateFTP(c Config) Run {
	g := &generator{Config: c, r: rand.New(rand.NewPCG(c.Seed, 0x9e3779b97f4a7c15))}
	for n := 0; len(g.steps) < c.Steps; n++ {
		key := nat.ServiceKey{Proto: nat.ProtoTCP, Addr: vips[n%len(vips)].As16(), Port: 21}
		server := netip.AddrPortFrom(realServer([]int{5, 77, 12345}[n%3]), []uint16{21, 2121}[g.r.IntN(2)])
		spec := nat.ServiceSpec{Key: key, Scheduler: "rr", Netmask: allOnes}
		if g.chance(30) {
			spec.Persistent, spec.Timeout = true, 300
		}
		g.add(Step{Op: AddService, Service: spec})
		g.add(Step{Op: AddServer, Service: spec, Server: nat.ServerSpec{
			Key: nat.ServerKey{Addr: server.Addr().As16(), Port: server.Port()}, Method: conntrack.Masq, Weight: 1,
		}})
		s := &ftpSession{
			g: g, key: key, server: server, sent: g.r.Uint32(), got: g.r.Uint32(), dataPort: uint16(20000 + 100*n),
			control: Packet{Proto: nat.ProtoTCP, Client: netip.AddrPortFrom(client(1+n), uint16(30000+n)), Virtual: nat.AddrPort(key.Addr, 21)},
		}
		s.run()
		g.steps[len(g.steps)-1].Look = true
		g.add(Step{Op: DeleteService, Service: nat.ServiceSpec{Key: key}, Settle: true})
	}
	if c.IPv6 {
		overIPv6(g.steps)
	}
	return Run{Config: c, Steps: g.steps}
}

// say has one end say something, and the other acknowledge it.
func (s *ftpSession) say(fromServer bool, flags uint8, text string) {
	p := s.control
	p.Flags, p.Payload = flags|wire.ACK, text
	if flags == wire.SYN && !fromServer {
		p.Flags = wire.SYN
	}
	op := FromClient
	p.Seq, p.Ack = s.sent, s.got+s.grown
	if fromServer {
		op, p.From = FromServer, s.server
		p.Seq, p.Ack = s.got, s.sent
	}
	s.g.add(Step{Op: op, Service: nat.ServiceSpec{Key: s.key}, Packet: p})
	n := uint32(len(text))
	if flags&(wire.SYN|wire.FIN) != 0 {
		n++
	}
	if fromServer {
		s.got += n
	} else {
		s.sent += n
	}
}

// data sends the packets of a data connection between the client's port and the
// server's, at the virtual port.
func (s *ftpSession) data(clientPort, virtualPort, serverPort uint16, active bool) {
	p := Packet{
		Proto: nat.ProtoTCP, Client: netip.AddrPortFrom(s.control.Client.Addr(), clientPort),
		Virtual: netip.AddrPortFrom(s.control.Virtual.Addr(), virtualPort),
	}
	server := netip.AddrPortFrom(s.server.Addr(), serverPort)
	for i, flags := range []uint8{wire.SYN, wire.SYN | wire.ACK, wire.ACK, wire.ACK, wire.FIN | wire.ACK, wire.FIN | wire.ACK, wire.ACK} {
		q := p
		q.Flags = flags
		// The first and the third come from who opens it, the fourth from the server.
		fromServer := (i%2 == 1) != active || i == 3
		if i >= 4 {
			fromServer = i != 5
		}
		if i == 3 {
			q.Length = s.g.r.IntN(1200)
		}
		op := FromClient
		if fromServer {
			op, q.From = FromServer, server
		}
		s.g.add(Step{Op: op, Service: nat.ServiceSpec{Key: s.key}, Packet: q})
	}
}

// extended is an address and port as RFC 2428 has it, with that delimiter.
func (s *ftpSession) extended(a netip.Addr, port uint16, d string) string {
	family := "1"
	if s.g.IPv6 {
		family, a = "2", six(a)
	}
	return strings.Join([]string{"", family, a.String(), fmt.Sprint(port), ""}, d)
}

// numbers is an address and port as PORT and 227 have it.
func numbers(a netip.Addr, port uint16, zeros bool) string {
	n := a.As4()
	format := "%d,%d,%d,%d,%d,%d"
	if zeros {
		format = "%03d,%d,%02d,%d,%03d,%04d"
	}
	return fmt.Sprintf(format, n[0], n[1], n[2], n[3], port>>8, port&0xff)
}

func (s *ftpSession) run() {
	s.say(false, wire.SYN, "")
	s.say(true, wire.SYN, "")
	s.say(false, 0, "")
	s.say(true, 0, "220 hello\r\n")
	for range 3 + s.g.r.IntN(6) {
		s.ports++
		port := s.dataPort + s.ports
		what := s.g.r.IntN(6)
		if s.g.IPv6 && (what == 0 || what == 2) {
			what++ // PASV and PORT are of IPv4
		}
		switch what {
		case 0:
			s.pasv(port)
		case 1:
			s.epsv(port)
		case 2:
			command := pick(s.g, []string{"PORT %s\r\n", "port   %s\r\n", "PORT\t%s\r\n"})
			s.say(false, 0, fmt.Sprintf(command, numbers(s.control.Client.Addr(), port, s.g.chance(20))))
			s.say(true, 0, "200 ok\r\n")
			s.data(port, 20, s.server.Port()-1, true)
		case 3:
			d := pick(s.g, []string{"|", "!", "/"})
			s.say(false, 0, "EPRT "+s.extended(s.control.Client.Addr(), port, d)+"\r\n")
			s.say(true, 0, "200 ok\r\n")
			s.data(port, 20, s.server.Port()-1, true)
		default:
			s.oddity(port)
		}
	}
	s.say(true, wire.FIN, "")
	s.say(false, wire.FIN, "")
}

func (s *ftpSession) pasv(port uint16) {
	command := pick(s.g, []string{"PASV\r\n", "pasv\r\n", "NOOP\r\nPASV\r\n", "PaSv\r\nLIST\r\n"})
	s.say(false, 0, command)
	zeros := s.g.chance(20)
	reply := pick(s.g, []string{"227 Entering Passive Mode (%s).\r\n", "227 =%s\r\n", "227 %s\r\n150 here\r\n", "227 ((((%s))))\r\n", "227 \x00\x01(%s)\r\n"})
	theirs, ours := numbers(s.server.Addr(), port, zeros), numbers(s.control.Virtual.Addr(), port, false)
	s.say(true, 0, fmt.Sprintf(reply, theirs))
	s.grown += uint32(len(ours) - len(theirs))
	if s.g.chance(80) {
		s.data(port+1000, port, port, false)
	}
}

func (s *ftpSession) epsv(port uint16) {
	family := "EPSV 1\r\n"
	if s.g.IPv6 {
		family = "EPSV 2\r\n"
	}
	s.say(false, 0, pick(s.g, []string{"EPSV\r\n", family, "epsv\r\nLIST\r\n"}))
	d := pick(s.g, []string{"|", "!", "-"})
	theirs := d + d + d + fmt.Sprint(port) + d
	if s.g.chance(30) {
		theirs = s.extended(s.server.Addr(), port, d)
	}
	s.say(true, 0, "229 Extended ("+theirs+")\r\n")
	s.grown += uint32(len(fmt.Sprintf("|||%d|", port)) - len(theirs))
	if s.g.chance(80) {
		s.data(port+1000, port, port, false)
	}
}

// oddity says what is no announcement, or not quite one.
func (s *ftpSession) oddity(port uint16) {
	server, client := numbers(s.server.Addr(), port, false), numbers(s.control.Client.Addr(), port, false)
	other := "|2|::1|5|" // of the other family
	if s.g.IPv6 {
		other = "|1|10.0.0.1|5|"
	}
	s.say(false, 0, pick(s.g, []string{
		"TYPE I\r\n", "PORT\r\n", "PORT 1,2,3\r\n", "PORT x" + client + "\r\n", "EPSV ALL\r\n", "EPSV 3\r\n",
		"EPRT " + other + "\r\n", "EPRT |||5|\r\n", "EPRT |1|10.1|5|\r\n", "EPRT\r\n", "XPORT " + client + "\r\n", "SITE PASS\r\n", "P", "\r\n", "PASV \r\n",
	}))
	s.say(true, 0, pick(s.g, []string{
		"500 what?\r\n", "227 (1,2,3)\r\n", "227-" + server + "\r\n", "227 (" + server + ")\r\n", "2 27 (" + server + ")\r\n", "229 (|||5|)\r\n", "229 |||5|\r\n", "\r\n",
	}))
}
