package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/nic/netns"
)

// anyService and anyServer are guarded at all their ports.
var (
	anyService = netip.MustParseAddr("198.51.100.11")
	anyServer  = netip.MustParseAddr("2001:db8:3::11")
)

// Addresses that wide selectors tell: all of both, the latter's first half with
// exceptions.
var (
	wide4, wide6   = netip.MustParseAddr("198.18.7.7"), netip.MustParseAddr("2001:db8:5::7")
	mixed4, mixed6 = netip.MustParseAddr("203.0.113.77"), netip.MustParseAddr("2001:db8:6::7")
)

// Addresses in networks that are masqueraded, and one beside them.
var (
	inside4, inside6 = netip.MustParseAddr("198.51.101.200"), netip.MustParseAddr("2001:db8:7::7")
	beside4          = netip.MustParseAddr("198.51.101.127")
)

// frameState is labState and more.
func frameState(l *lab) State {
	const tcp, udp, sctp = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP
	s := labState()
	s.Services = append(
		s.Services,
		Key{Addr: vip4.As16(), Port: servicePort, Proto: sctp},
		tcpKey(anyService, 0),
		Key{Addr: vip4.As16(), Proto: unix.IPPROTO_ESP}, Key{Addr: vip4.As16(), Proto: unix.IPPROTO_AH},
		Key{Addr: vip6.As16(), Proto: unix.IPPROTO_ESP},
	)
	s.Servers = append(s.Servers, udpKey(anyServer, 0), Key{Addr: server4.As16(), Proto: unix.IPPROTO_ESP})
	p := netip.MustParsePrefix
	s.Networks = []netip.Prefix{p("2001:db8:7::/49"), p("198.51.101.193/25"), p("198.51.101.200/31"), p("255.255.255.0/24")}
	s.Wide = []Wide{
		{Dst: p("203.0.113.64/27"), Proto: tcp, FirstPort: 22, LastPort: 22, Host: true},
		{Dst: p("203.0.113.64/26"), Proto: tcp},
		{Src: p("192.0.2.0/31"), Dst: p("203.0.113.64/26"), Proto: udp, FirstPort: servicePort, LastPort: 443, Ifindex: l.d0},
		{Dst: p("203.0.113.64/26"), Proto: sctp, Ifindex: l.d1},
		{Dst: p("198.18.0.0/15")},
		{Dst: p("2001:db8:6::6/127"), FirstPort: 4, LastPort: 79, Host: true},
		{Src: p("2001:db8:1::/64"), Dst: p("2001:db8:6::/48"), LastPort: servicePort},
		{Dst: p("2001:db8:5::/48")},
		{Proto: sctp, FirstPort: 7777, LastPort: 7778},
	}
	return s
}

// wire sends frames at the client's end and sees them at the director's.
type wire struct {
	l         *lab
	send, tap int
	serial    uint32
	stats     Stats // as expected
	guard     *Guard
}

func newWire(t *testing.T, l *lab, kind string) *wire {
	t.Helper()
	g := l.guard(t, kind)
	if err := errors.Join(g.Set(frameState(l)), g.Detach(l.d1)); err != nil {
		t.Fatal(err)
	}
	// The client must not answer what the director sends: that would count, too.
	in(t, l.client, func() error {
		c0, err := netlink.LinkByIndex(l.c0)
		if err != nil {
			return err
		}
		return errors.Join(
			netlink.AddrDel(c0, &netlink.Addr{IPNet: &net.IPNet{IP: client4.AsSlice(), Mask: net.CIDRMask(24, 32)}}),
			sysctl("net/ipv6/conf/c0/disable_ipv6", "1"),
		)
	})
	w := &wire{l: l, guard: g}
	w.send = packetSocket(t, l.client, l.c0)
	w.tap = packetSocket(t, l.director, l.d0)
	if err := unix.SetsockoptInt(w.send, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
		t.Fatal(err)
	}
	return w
}

// packetSocket opens a packet socket bound to ETH_P_ALL.
func packetSocket(t *testing.T, h *netns.Handle, ifindex int) (fd int) {
	t.Helper()
	in(t, h, func() (err error) {
		all := binary.NativeEndian.Uint16([]byte{unix.ETH_P_ALL >> 8, unix.ETH_P_ALL})
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
		if err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifindex}); err != nil {
			return err
		}
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
	})
	return fd
}

// pass sends a frame of which the first linear bytes lie together, and waits
// until the tap has seen it. The source address serves as a serial number.
func (w *wire) pass(frame []byte, linear int) error {
	w.serial++
	frame[6] = 2
	binary.BigEndian.PutUint32(frame[8:], w.serial)
	vnet := make([]byte, 10)
	binary.NativeEndian.PutUint16(vnet[2:], uint16(linear))
	if _, err := unix.Write(w.send, append(vnet, frame...)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	buf := make([]byte, 64)
	for {
		n, _, err := unix.Recvfrom(w.tap, buf, 0)
		if err != nil {
			return fmt.Errorf("the tap has not seen the frame: %w", err)
		}
		if n >= 14 && buf[6] == 2 && binary.BigEndian.Uint32(buf[8:]) == w.serial {
			return nil
		}
	}
}

// check sends a frame and then one that is dropped for certain, and compares
// the counters.
func (w *wire) check(frame []byte, linear, want int) error {
	if err := w.pass(frame, linear); err != nil {
		return err
	}
	last := packet{src: client4, dst: vip4, proto: unix.IPPROTO_UDP, dport: servicePort}.frame(w.l)
	if err := w.pass(last, len(last)); err != nil {
		return err
	}
	before := w.stats
	w.stats.Services++
	switch want {
	case dropService:
		w.stats.Services++
	case dropServer:
		w.stats.Servers++
	case dropError:
		w.stats.Errors++
	}
	var got Stats
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); {
		var err error
		if got, err = w.guard.Stats(); err != nil {
			return err
		}
		if got == w.stats {
			return nil
		}
	}
	expected := w.stats
	w.stats = got
	return fmt.Errorf("counters are %+v, were %+v, want %+v", got, before, expected)
}

// packet describes an IP packet.
type packet struct {
	src, dst     netip.Addr
	proto        uint8
	sport, dport uint16
	icmp         uint8   // type, if proto is ICMP
	inner        *packet // what it is about
	frag         uint16  // IPv4: flags and fragment offset
	options      int     // IPv4: bytes of options
	extensions   []uint8 // IPv6: headers between
	later        bool    // IPv6: a fragment header is that of a later fragment
	payload      int
}

// frame returns it in an Ethernet frame to the director.
func (p packet) frame(l *lab) []byte {
	etherType := uint16(unix.ETH_P_IPV6)
	if p.dst.Is4() {
		etherType = unix.ETH_P_IP
	}
	f := append(append([]byte{}, l.macD0...), l.macC0...)
	f = binary.BigEndian.AppendUint16(f, etherType)
	return append(f, p.ip()...)
}

func (p packet) ip() []byte {
	rest := p.transport()
	if p.dst.Is4() {
		h := make([]byte, 20+p.options)
		h[0] = 4<<4 | byte(len(h)/4)
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(rest)))
		binary.BigEndian.PutUint16(h[6:], p.frag)
		h[8], h[9] = 64, p.proto
		copy(h[12:], p.src.AsSlice())
		copy(h[16:], p.dst.AsSlice())
		binary.BigEndian.PutUint16(h[10:], ^sum(0, h))
		return append(h, rest...)
	}
	next := p.proto
	for i := len(p.extensions) - 1; i >= 0; i-- {
		e := make([]byte, 8) // of AH a length of 0 is 8 bytes, too
		if p.extensions[i] == unix.IPPROTO_DSTOPTS {
			e = make([]byte, 24)
			e[1] = 2
		}
		e[0] = next
		if p.extensions[i] == unix.IPPROTO_FRAGMENT {
			e[3] = 1 // more fragments
			if p.later {
				e[3] |= 8
			}
		}
		next, rest = p.extensions[i], append(e, rest...)
	}
	h := make([]byte, 40)
	h[0], h[6], h[7] = 6<<4, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(rest)))
	copy(h[8:], p.src.AsSlice())
	copy(h[24:], p.dst.AsSlice())
	return append(h, rest...)
}

func (p packet) transport() []byte {
	b := make([]byte, 20+p.payload)
	if p.proto == unix.IPPROTO_ICMP || p.proto == unix.IPPROTO_ICMPV6 {
		b[0] = p.icmp
		if p.inner != nil {
			b = append(b[:8], p.inner.ip()...)
		}
		return b
	}
	binary.BigEndian.PutUint16(b, p.sport)
	binary.BigEndian.PutUint16(b[2:], p.dport)
	return b
}

// fixLength makes the length in the IP header that of the frame, which has
// been cut.
func fixLength(frame []byte) {
	ip := frame[14:]
	switch {
	case len(ip) >= 40 && ip[0]>>4 == 6:
		binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-40))
	case len(ip) >= 20 && ip[0]>>4 == 4:
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	}
}

// about returns an ICMP error.
func about(src, dst netip.Addr, kind uint8, inner packet) packet {
	p := packet{src: src, dst: dst, proto: unix.IPPROTO_ICMP, icmp: kind, inner: &inner}
	if dst.Is6() {
		p.proto = unix.IPPROTO_ICMPV6
	}
	return p
}

// Each kind of frame ends as it should, and an ETH_P_ALL tap sees it anyway.
func TestFrames(t *testing.T) {
	const tcp, udp, sctp = unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP
	const none = -1
	toService := packet{src: client4, dst: vip4, proto: tcp, sport: 1024, dport: servicePort}
	toService6 := packet{src: client6, dst: vip6, proto: tcp, sport: 1024, dport: servicePort}
	fromService := packet{src: vip4, dst: client4, proto: tcp, sport: servicePort, dport: 1024}
	fromService6 := packet{src: vip6, dst: client6, proto: tcp, sport: servicePort, dport: 1024}
	toServer := packet{src: client4, dst: server4, proto: tcp, sport: 1024, dport: serverPort}
	toServer6 := packet{src: client6, dst: server6, proto: tcp, sport: 1024, dport: serverPort}
	change := func(p packet, how func(p *packet)) packet { how(&p); return p }
	far4, far6 := netip.MustParseAddr("192.0.2.77"), netip.MustParseAddr("2001:db8:1::77")

	type row struct {
		name  string
		p     packet
		want  int
		alter func(frame []byte, l *lab) []byte
	}
	rows := []row{
		{"TCP", toService, dropService, nil},
		{"UDP", change(toService, func(p *packet) { p.proto = udp }), dropService, nil},
		{"SCTP", change(toService, func(p *packet) { p.proto = sctp }), dropService, nil},
		{"ESP", change(toService, func(p *packet) { p.proto, p.sport, p.dport = unix.IPPROTO_ESP, 1, 2 }), dropService, nil},
		{"AH", change(toService, func(p *packet) { p.proto = unix.IPPROTO_AH }), dropService, nil},
		{"ESP over IPv6", change(toService6, func(p *packet) { p.proto = unix.IPPROTO_ESP }), dropService, nil},
		{"ESP from a server", packet{src: server4, dst: far4, proto: unix.IPPROTO_ESP, sport: 5, dport: 9}, dropServer, nil},
		{"AH from a server", packet{src: server4, dst: far4, proto: unix.IPPROTO_AH, sport: 5, dport: 9}, none, nil},
		{"ESP to a prefix", change(toService, func(p *packet) { p.dst, p.proto = wide4, unix.IPPROTO_ESP }), none, nil},
		{"ESP from a network", packet{src: inside4, dst: far4, proto: unix.IPPROTO_ESP, sport: 5, dport: 9}, none, nil},
		{"an error about ESP", about(front4, vip4, 3, packet{src: vip4, dst: client4, proto: unix.IPPROTO_ESP, sport: 5, dport: 9}), dropError, nil},
		{"an error about ESP to a server", about(server4, client4, 3, packet{src: client4, dst: server4, proto: unix.IPPROTO_ESP, sport: 5, dport: 9}), dropError, nil},
		{"DCCP", change(toService, func(p *packet) { p.proto = unix.IPPROTO_DCCP }), none, nil},
		{"other port", change(toService, func(p *packet) { p.dport = freePort }), none, nil},
		{"other address", change(toService, func(p *packet) { p.dst = front4 }), none, nil},
		{"all ports", change(toService, func(p *packet) { p.dst, p.dport = anyService, 7 }), dropService, nil},
		{"all ports of another protocol", change(toService, func(p *packet) { p.dst, p.proto = anyService, udp }), none, nil},
		{"options", change(toService, func(p *packet) { p.options = 40 }), dropService, nil},
		{"first fragment", change(toService, func(p *packet) { p.frag = 0x2000 }), dropService, nil},
		{"later fragment", change(toService, func(p *packet) { p.frag = 0x2001 }), none, nil},
		{"last fragment", change(toService, func(p *packet) { p.frag = 0x1000 }), none, nil},
		{"don't fragment", change(toService, func(p *packet) { p.frag = 0x4000 }), dropService, nil},
		{"large", change(toService, func(p *packet) { p.payload = 8000 }), dropService, nil},

		{"TCP over IPv6", toService6, dropService, nil},
		{"SCTP over IPv6", change(toService6, func(p *packet) { p.proto = sctp }), none, nil},
		{"extensions", change(toService6, func(p *packet) {
			p.extensions = []uint8{unix.IPPROTO_HOPOPTS, unix.IPPROTO_DSTOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_FRAGMENT, unix.IPPROTO_DSTOPTS}
		}), dropService, nil},
		{"later fragment of IPv6", change(toService6, func(p *packet) {
			p.extensions, p.later = []uint8{unix.IPPROTO_HOPOPTS, unix.IPPROTO_FRAGMENT}, true
		}), none, nil},
		{"IPv4-mapped address", change(toService6, func(p *packet) { p.dst = netip.AddrFrom16(vip4.As16()) }), none, nil},

		{"from a server", packet{src: server4, dst: far4, proto: tcp, sport: serverPort, dport: 9}, dropServer, nil},
		{"from a server, IPv6", packet{src: server6, dst: far6, proto: tcp, sport: serverPort, dport: 9}, dropServer, nil},
		{"from any port of a server", packet{src: anyServer, dst: far6, proto: udp, sport: 5, dport: 9}, dropServer, nil},
		{"from a server's other port", packet{src: server4, dst: far4, proto: tcp, sport: 5, dport: 9}, none, nil},
		{"from a server to the host", packet{src: server4, dst: back4, proto: tcp, sport: serverPort, dport: 9}, none, nil},
		{"from any port of a server to the host", packet{src: anyServer, dst: back6, proto: udp, sport: 5, dport: 9}, none, nil},
		{"from a server to a service", change(toService, func(p *packet) { p.src, p.sport = server4, serverPort }), dropService, nil},

		{"told by a prefix", change(toService, func(p *packet) { p.dst, p.dport = wide4, 7 }), dropService, nil},
		{"told by a prefix, IPv6", change(toService6, func(p *packet) { p.dst, p.dport = wide6, 7 }), dropService, nil},
		{"beside a prefix", change(toService, func(p *packet) { p.dst = netip.MustParseAddr("198.20.0.1") }), none, nil},
		{"of another protocol", change(toService, func(p *packet) { p.dst, p.proto = wide4, unix.IPPROTO_DCCP }), none, nil},
		{"excepted", change(toService, func(p *packet) { p.dst, p.dport = mixed4, 22 }), none, nil},
		{"not excepted", change(toService, func(p *packet) { p.dst, p.dport = mixed4, 21 }), dropService, nil},
		{"told by source and ports", change(toService, func(p *packet) { p.dst, p.dport, p.proto = mixed4, 443, udp }), dropService, nil},
		{"of another source", change(toService, func(p *packet) { p.src, p.dst, p.dport, p.proto = far4, mixed4, 443, udp }), none, nil},
		{"above the ports", change(toService, func(p *packet) { p.dst, p.dport, p.proto = mixed4, 444, udp }), none, nil},
		{"below the ports", change(toService, func(p *packet) { p.dst, p.dport, p.proto = mixed4, servicePort-1, udp }), none, nil},
		{"of another interface", change(toService, func(p *packet) { p.dst, p.proto = mixed4, sctp }), none, nil},
		{"excepted, IPv6", change(toService6, func(p *packet) { p.dst, p.dport = mixed6, 79 }), none, nil},
		{"told by source and ports, IPv6", change(toService6, func(p *packet) { p.dst, p.dport = mixed6, 3 }), dropService, nil},
		{"told by ports alone", change(toService, func(p *packet) { p.dst, p.proto, p.dport = front4, sctp, 7777 }), dropService, nil},
		{"told by ports alone, IPv6", change(toService6, func(p *packet) { p.dst, p.proto, p.dport = front6, sctp, 7778 }), dropService, nil},
		{"about a reply told by a prefix", about(far4, wide4, 3, packet{src: wide4, dst: client4, proto: tcp, sport: 9, dport: 1024}), dropError, nil},
		{"about an excepted reply", about(far4, mixed4, 3, packet{src: mixed4, dst: client4, proto: tcp, sport: 22, dport: 1024}), none, nil},
		{"about a reply told by a prefix, to another address", about(far4, vip4, 3, packet{src: wide4, dst: client4, proto: tcp, sport: 9, dport: 1024}), none, nil},
		{"about a reply told by source and ports, IPv6", about(far6, mixed6, 1, packet{src: mixed6, dst: client6, proto: udp, sport: 80, dport: 9}), dropError, nil},
		{"about a reply to another source, IPv6", about(far6, mixed6, 1, packet{src: mixed6, dst: far6, proto: udp, sport: 80, dport: 9}), dropError, nil},
		{"about a reply to a far source, IPv6", about(far6, mixed6, 1, packet{src: mixed6, dst: server6, proto: udp, sport: 80, dport: 9}), none, nil},

		{"from a network", packet{src: inside4, dst: far4, proto: tcp, sport: 4, dport: 9}, dropServer, nil},
		{"from beside a network", packet{src: beside4, dst: far4, proto: tcp, sport: 4, dport: 9}, none, nil},
		{"from a network at the end of all", packet{src: netip.MustParseAddr("255.255.255.3"), dst: far4, proto: udp, sport: 4, dport: 9}, dropServer, nil},
		{"from a network, IPv6", packet{src: inside6, dst: far6, proto: udp, sport: 4, dport: 9}, dropServer, nil},
		{"from a network to the host", packet{src: inside4, dst: back4, proto: tcp, sport: 4, dport: 9}, none, nil},
		{"from a network, another protocol", packet{src: inside4, dst: far4, proto: 47}, none, nil},
		{"echo from a network", packet{src: inside4, dst: far4, proto: unix.IPPROTO_ICMP, icmp: 8}, dropServer, nil},
		{"echo from a network, IPv6", packet{src: inside6, dst: far6, proto: unix.IPPROTO_ICMPV6, icmp: 128}, dropServer, nil},
		{"echo from a network to the host", packet{src: inside4, dst: back4, proto: unix.IPPROTO_ICMP, icmp: 8}, none, nil},
		{"answer to an echo from a network", packet{src: inside4, dst: far4, proto: unix.IPPROTO_ICMP}, none, nil},
		{"about an answer to a network", about(inside4, far4, 3, packet{src: far4, dst: inside4, proto: udp, sport: 53, dport: 4}), dropError, nil},
		{"about an answer to a network, to the host", about(inside4, back4, 3, packet{src: back4, dst: inside4, proto: udp, sport: 53, dport: 4}), none, nil},
		{"about an answer to a network, IPv6", about(inside6, far6, 1, packet{src: far6, dst: inside6, proto: udp, sport: 53, dport: 4}), dropError, nil},

		{"unreachable, about a reply", about(client4, vip4, 3, fromService), dropError, nil},
		{"source quench", about(client4, vip4, 4, fromService), dropError, nil},
		{"time exceeded", about(client4, vip4, 11, fromService), dropError, nil},
		{"parameter problem", about(client4, vip4, 12, fromService), dropError, nil},
		{"redirect", about(client4, vip4, 5, fromService), none, nil},
		{"timestamp", about(client4, vip4, 13, fromService), none, nil},
		{"about a reply, to another address", about(client4, front4, 3, fromService), none, nil},
		{"about the host's packet", about(client4, vip4, 3, change(fromService, func(p *packet) { p.sport = 22 })), none, nil},
		{"about a later fragment", about(client4, vip4, 3, change(fromService, func(p *packet) { p.frag = 9 })), none, nil},
		{"about ICMP", about(client4, vip4, 3, packet{src: vip4, dst: client4, proto: unix.IPPROTO_ICMP, icmp: 8}), none, nil},
		{"with options, about a reply", change(about(client4, vip4, 3, fromService), func(p *packet) { p.options = 8 }), dropError, nil},
		{"about a request", about(server4, far4, 3, toServer), dropError, nil},
		{"about a request of the host's", about(server4, back4, 3, change(toServer, func(p *packet) { p.src = back4 })), none, nil},
		{"about a request to another port", about(server4, far4, 3, change(toServer, func(p *packet) { p.dport = 5 })), none, nil},
		{"echo", packet{src: client4, dst: vip4, proto: unix.IPPROTO_ICMP, icmp: 8}, none, nil},

		{"ICMPv6 unreachable, about a reply", about(client6, vip6, 1, fromService6), dropError, nil},
		{"packet too big", about(client6, vip6, 2, fromService6), dropError, nil},
		{"ICMPv6 parameter problem", about(client6, vip6, 4, fromService6), dropError, nil},
		{"ICMPv6 type 0", about(client6, vip6, 0, fromService6), none, nil},
		{"ICMPv6 type 5", about(client6, vip6, 5, fromService6), none, nil},
		{"ICMPv6 with extension", change(about(client6, vip6, 1, fromService6), func(p *packet) {
			p.extensions = []uint8{unix.IPPROTO_DSTOPTS}
		}), dropError, nil},
		{"ICMPv6 about a request", about(server6, far6, 1, toServer6), dropError, nil},
		{"ICMPv6 about a request of the host's", about(server6, back6, 1, toServer6), none, nil},
		{"ICMPv6 about any port of a server", about(server6, far6, 1, packet{src: far6, dst: anyServer, proto: udp, dport: 7}), dropError, nil},
		{"echo over IPv6", packet{src: client6, dst: vip6, proto: unix.IPPROTO_ICMPV6, icmp: 128}, none, nil},

		{"other station", toService, none, func(f []byte, _ *lab) []byte { f[0], f[5] = 2, f[5]+1; return f }},
		{"broadcast", toService, none, func(f []byte, _ *lab) []byte { copy(f, []byte{255, 255, 255, 255, 255, 255}); return f }},
		{"multicast", toService6, none, func(f []byte, _ *lab) []byte { copy(f, []byte{0x33, 0x33, 0, 0, 0, 1}); return f }},
		{"priority tag", toService, dropService, func(f []byte, _ *lab) []byte { return tagged(f, 7<<13) }},
		{"priority tag, IPv6", toService6, dropService, func(f []byte, _ *lab) []byte { return tagged(f, 0) }},
		{"priority tag of a provider", toService, dropService, func(f []byte, _ *lab) []byte {
			f = tagged(f, 0)
			f[12], f[13] = 0x88, 0xa8
			return f
		}},
		{"VLAN tag", toService, none, func(f []byte, _ *lab) []byte { return tagged(f, 5) }},
		{"VLAN tag, IPv6", toService6, none, func(f []byte, _ *lab) []byte { return tagged(f, 5) }},
		{"two tags", toService, none, func(f []byte, _ *lab) []byte { return tagged(tagged(f, 5), 6) }},
		{"ARP", toService, none, func(f []byte, _ *lab) []byte { f[12], f[13] = 8, 6; return f }},
		{"IPv6 called IPv4", toService6, none, func(f []byte, _ *lab) []byte { f[12], f[13] = 8, 0; return f }},
		{"IPv4 called IPv6", change(toService, func(p *packet) { p.payload = 40 }), none, func(f []byte, _ *lab) []byte { f[12], f[13] = 0x86, 0xdd; return f }},
		{"header length 16", toService, none, func(f []byte, _ *lab) []byte { f[14] = 0x44; return f }},
		{"no ports", toService, none, func(f []byte, _ *lab) []byte { f = f[:14+20+3]; fixLength(f); return f }},
		{"ports only", toService, dropService, func(f []byte, _ *lab) []byte { f = f[:14+20+4]; fixLength(f); return f }},
		{"no ports to a service at all ports", change(toService, func(p *packet) { p.dst = anyService }), none, func(f []byte, _ *lab) []byte {
			f = f[:14+20+3]
			fixLength(f)
			return f
		}},
	}
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		more := map[string][]row{TCX: {
			{"AH", change(toService6, func(p *packet) { p.extensions = []uint8{unix.IPPROTO_AH} }), dropService, nil},
			{"about a reply with options", about(client4, vip4, 3, change(fromService, func(p *packet) { p.options = 4 })), dropError, nil},
			{"ICMPv6 about a reply with extension", about(client6, vip6, 1, change(fromService6, func(p *packet) {
				p.extensions = []uint8{unix.IPPROTO_DSTOPTS, unix.IPPROTO_FRAGMENT}
			})), dropError, nil},
			{"ICMPv6 about a later fragment", about(client6, vip6, 1, change(fromService6, func(p *packet) {
				p.extensions, p.later = []uint8{unix.IPPROTO_FRAGMENT}, true
			})), none, nil},
		}, NFT: {
			{"AH", change(toService6, func(p *packet) { p.extensions = []uint8{unix.IPPROTO_AH} }), none, nil},
			{"about a reply with options", about(client4, vip4, 3, change(fromService, func(p *packet) { p.options = 4 })), none, nil},
		}}
		w := newWire(t, l, kind)
		for _, r := range append(append([]row{}, rows...), more[kind]...) {
			frame := r.p.frame(l)
			if r.alter != nil {
				frame = r.alter(frame, l)
			} else if m := model(frameState(l), kind, l.d0, frame); m != r.want {
				t.Errorf("%s: the model says %d, want %d", r.name, m, r.want)
			}
			if err := w.check(frame, len(frame), r.want); err != nil {
				t.Errorf("%s: %v", r.name, err)
			}
		}
		// A long frame of which only the Ethernet header is not in pages.
		for _, p := range []packet{toService, toService6, about(client6, vip6, 1, fromService6)} {
			p.payload = 6000
			if p.inner != nil {
				p.inner = new(change(*p.inner, func(p *packet) { p.payload = 6000 }))
			}
			frame := p.frame(l)
			if err := w.check(frame, 14, model(frameState(l), kind, l.d0, frame)); err != nil {
				t.Errorf("in pages: %v", err)
			}
		}
	})
}

// tagged puts an 802.1Q tag into a frame.
func tagged(f []byte, id uint16) []byte {
	g := append(append([]byte{}, f[:12]...), 0x81, 0)
	return append(binary.BigEndian.AppendUint16(g, id), f[12:]...)
}

// Random frames end as the model says. VSNAT_SEED repeats a run.
func TestRandomFrames(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("VSNAT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("VSNAT_SEED=%d", seed)
	eachKind(t, func(t *testing.T, l *lab, kind string) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		w := newWire(t, l, kind)
		var drops [numDrops + 1]int
		for range 4000 {
			p := randomPacket(rnd, rnd.IntN(2) == 0, true)
			frame := p.frame(l)
			if rnd.IntN(8) == 0 {
				frame = frame[:14+rnd.IntN(len(frame)-14)]
				fixLength(frame)
			}
			want := model(frameState(l), kind, l.d0, frame)
			drops[want+1]++
			if err := w.check(frame, len(frame), want); err != nil {
				t.Fatalf("%v\n%+v\n% x", err, p, frame)
			}
		}
		t.Logf("none, to a service, from a server, error: %d", drops)
		for kind, n := range drops {
			if n == 0 {
				t.Errorf("no frame ended as %d", kind-1)
			}
		}
	})
}

func randomPacket(rnd *rand.Rand, v6, outer bool) packet {
	pick := func(list []netip.Addr) netip.Addr { return list[rnd.IntN(len(list))] }
	addrs := []netip.Addr{client4, front4, vip4, server4, anyService, wide4, mixed4, inside4}
	icmp, icmpTypes := uint8(unix.IPPROTO_ICMP), []uint8{3, 4, 11, 12, 8, 5}
	if v6 {
		addrs = []netip.Addr{client6, front6, vip6, server6, anyServer, wide6, mixed6, inside6}
		icmp, icmpTypes = unix.IPPROTO_ICMPV6, []uint8{1, 2, 3, 4, 128, 0}
	}
	ports := []uint16{servicePort, serverPort, deadPort, 5, 22, 7777}
	protos := []uint8{
		unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP, unix.IPPROTO_TCP, unix.IPPROTO_UDP, 47, icmp, icmp, icmp, unix.IPPROTO_ESP,
	}
	p := packet{
		src: pick(addrs), dst: pick(addrs), proto: protos[rnd.IntN(len(protos))],
		sport: ports[rnd.IntN(len(ports))], dport: ports[rnd.IntN(len(ports))],
		icmp: icmpTypes[rnd.IntN(len(icmpTypes))],
	}
	// By chance alone few frames would be ours.
	switch rnd.IntN(4) {
	case 0:
		p.dst, p.dport = addrs[2], servicePort
	case 1:
		p.src, p.sport = addrs[3], serverPort
	}
	if outer && p.proto == icmp {
		inner := randomPacket(rnd, v6, false)
		switch rnd.IntN(4) {
		case 0:
			inner.src, inner.sport, p.dst = addrs[2], servicePort, addrs[2]
		case 2:
			inner.src = addrs[5+rnd.IntN(2)]
			p.dst = inner.src
		case 1:
			inner.dst, inner.dport = addrs[3], serverPort
		}
		p.inner = &inner
	}
	if rnd.IntN(6) == 0 {
		p.options = 4 * rnd.IntN(11)
		p.frag = uint16(rnd.Uint32()) & [...]uint16{0xe000, 0xffff}[rnd.IntN(2)]
	}
	if rnd.IntN(3) == 0 {
		known := []uint8{unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS, unix.IPPROTO_AH, unix.IPPROTO_FRAGMENT}
		for range 1 + rnd.IntN(3) {
			p.extensions = append(p.extensions, known[rnd.IntN(len(known))])
		}
		p.later = rnd.IntN(4) == 0
	}
	return p
}
