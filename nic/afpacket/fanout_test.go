package afpacket

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// segment makes a frame to that link-layer address, whose payload begins with a
// number. What is of no interest to a steering program is zero. fragment is as in an
// IPv4 header.
func segment(to net.HardwareAddr, src, dst netip.AddrPort, proto byte, fragment uint16, number int) *nic.Frame {
	var ip []byte
	typ := uint16(unix.ETH_P_IP)
	if src.Addr().Is4() {
		ip = make([]byte, 20, 40)
		ip[0], ip[9] = 0x45, proto
		binary.BigEndian.PutUint16(ip[6:], fragment)
		copy(ip[12:], src.Addr().AsSlice())
		copy(ip[16:], dst.Addr().AsSlice())
	} else {
		typ = unix.ETH_P_IPV6
		ip = make([]byte, 40, 60)
		ip[0], ip[6] = 0x60, proto
		copy(ip[8:], src.Addr().AsSlice())
		copy(ip[24:], dst.Addr().AsSlice())
	}
	ip = binary.BigEndian.AppendUint16(ip, src.Port())
	ip = binary.BigEndian.AppendUint16(ip, dst.Port())
	ip = binary.BigEndian.AppendUint32(ip, uint32(number))
	f := &nic.Frame{Buf: make([]byte, nic.VNetHdrLen+14, nic.VNetHdrLen+14+len(ip)+60)}
	copy(f.Eth(), to)
	binary.BigEndian.PutUint16(f.Eth()[12:], typ)
	f.Buf = append(f.Buf, ip...)
	return f
}

// numberOf returns a packet's number.
func numberOf(f *nic.Frame) int {
	b := f.Eth()[14:]
	if b[0]>>4 == 6 {
		return int(binary.BigEndian.Uint32(b[44:]))
	}
	return int(binary.BigEndian.Uint32(b[24:]))
}

// side is a NIC with several queues, and the other end of its wire.
type side struct {
	t      *testing.T
	queues []*Device
	far    *Sender
	mac    net.HardwareAddr
}

func newSide(t *testing.T, director, host *space, name string, queues int, vips []nic.Addr) *side {
	t.Helper()
	wire(t, director, name, host, "far-"+name)
	s := &side{t: t, far: host.sender("far-" + name), mac: director.mac(name)}
	var err error
	director.do(func() { s.queues, err = OpenQueues(Config{Name: name, Slots: 2048}, queues, vips) })
	check(t, err)
	for _, d := range s.queues {
		t.Cleanup(func() { _ = d.Close() })
	}
	return s
}

// arrive sends packets and returns by number in which queue they arrived.
func (s *side) arrive(frames ...*nic.Frame) map[int]int {
	s.t.Helper()
	errs := make([]unix.Errno, len(frames))
	if n := s.far.Send(frames, errs); n != len(frames) {
		s.t.Fatalf("sent %d of %d: %v", n, len(frames), errs)
	}
	in := map[int]int{}
	var b nic.Batch
	for deadline := time.Now().Add(10 * time.Second); len(in) < len(frames) && time.Now().Before(deadline); {
		for q, d := range s.queues {
			n, err := d.Recv(&b)
			check(s.t, err)
			for i := range n {
				number := numberOf(&b.Frames[i])
				if _, twice := in[number]; twice {
					s.t.Errorf("packet %d arrived twice", number)
				}
				in[number] = q
			}
			d.Release()
		}
		time.Sleep(time.Millisecond)
	}
	if len(in) != len(frames) {
		s.t.Fatalf("%d of %d packets arrived", len(in), len(frames))
	}
	return in
}

// addrs returns the addresses as a NIC has them.
func addrs(list ...netip.Addr) (all []nic.Addr) {
	for _, a := range list {
		all = append(all, a.As16())
	}
	return all
}

// Both directions of a flow go to queues of the same number, and flows are spread
// evenly over them.
func TestFanoutKeepsFlowsTogether(t *testing.T) {
	const flows = 500
	for _, c := range []struct{ client, vip, server string }{
		{"192.0.2.%d", "198.51.100.1", "10.0.0.%d"},
		{"2001:db8::%d", "2001:db8:1::1", "fd00::%d"},
	} {
		for _, proto := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
			t.Run(fmt.Sprint(c.vip, " protocol ", proto), func(t *testing.T) {
				client, director, server := newSpace(t), newSpace(t), newSpace(t)
				vip := netip.MustParseAddr(c.vip)
				// Not the only one, nor the first or last.
				var vips []netip.Addr
				for a, i := vip.Prev().Prev().Prev().Prev().Prev(), 0; i < 11; a, i = a.Next(), i+1 {
					vips = append(vips, a)
				}
				there := newSide(t, director, client, "in", 2, addrs(vips...))
				back := newSide(t, director, server, "out", 2, addrs(vips...))
				var requests, replies []*nic.Frame
				for i := range flows {
					from := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(c.client, 1+i%7)), uint16(32768+i))
					to := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(c.server, 1+i%4)), 8080)
					requests = append(requests, segment(there.mac, from, netip.AddrPortFrom(vip, 80), proto, 0, i))
					replies = append(replies, segment(back.mac, to, from, proto, 0, i))
				}
				forth, reverse := there.arrive(requests...), back.arrive(replies...)
				apart, first := 0, 0
				for i := range flows {
					if forth[i] != reverse[i] {
						apart++
					}
					if forth[i] == 0 {
						first++
					}
				}
				if apart > 0 || first < flows*4/10 || first > flows*6/10 {
					t.Errorf("of %d flows, %d have their directions in different queues, %d are in the first", flows, apart, first)
				}
				// A new virtual address, which takes the place of all.
				next := netip.MustParseAddr(c.vip).Next().Next().Next().Next().Next().Next().Next().Next()
				check(t, there.queues[0].Steer(addrs(next)))
				for i := range requests {
					from := netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf(c.client, 1+i%7)), uint16(32768+i))
					requests[i] = segment(there.mac, from, netip.AddrPortFrom(next, 80), proto, 0, i)
				}
				for i, q := range there.arrive(requests...) {
					if q != reverse[i] {
						t.Fatalf("flow %d: a request to a new address is in queue %d, its reply in %d", i, q, reverse[i])
					}
				}
			})
		}
	}
}

// All fragments of a datagram go to one queue, and so does what has no ports.
func TestFanoutKeepsDatagramsTogether(t *testing.T) {
	client, director := newSpace(t), newSpace(t)
	vip := netip.MustParseAddr("198.51.100.1")
	s := newSide(t, director, client, "in", 4, addrs(vip))
	for i := range 20 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), uint16(1000+i))
		to := netip.AddrPortFrom(vip, 80)
		none := netip.AddrPortFrom(from.Addr(), 0x1234) // in place of the ports
		in := s.arrive(
			segment(s.mac, from, to, unix.IPPROTO_UDP, 0x2000, 0),
			segment(s.mac, none, to, unix.IPPROTO_UDP, 0x2000|185, 1),
			segment(s.mac, none, to, unix.IPPROTO_UDP, 370, 2),
			segment(s.mac, from, to, unix.IPPROTO_ICMP, 0, 3),
			segment(s.mac, none, to, unix.IPPROTO_ICMP, 0, 4),
		)
		for n := range 5 {
			if in[n] != in[0] {
				t.Fatalf("client %d: %v", i, in)
			}
		}
	}
}

// What is sent by an interface does not come back to its queues, nor does a frame of
// another protocol get lost.
func TestFanoutOtherFrames(t *testing.T) {
	client, director := newSpace(t), newSpace(t)
	s := newSide(t, director, client, "in", 2, nil)
	own := director.sender("in")
	from, to := netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")
	out := segment(s.mac, from, to, unix.IPPROTO_UDP, 0, 7)
	if own.Send([]*nic.Frame{out}, make([]unix.Errno, 1)) != 1 {
		t.Fatal("not sent")
	}
	arp := segment(s.mac, from, to, 0, 0, 1)
	binary.BigEndian.PutUint16(arp.Eth()[12:], unix.ETH_P_ARP)
	if in := s.arrive(arp); in[1] != 0 {
		t.Errorf("in queue %d", in[1])
	}
}

// A program with as many addresses as it may know is one that the kernel takes.
func TestFanoutBounds(t *testing.T) {
	client, director := newSpace(t), newSpace(t)
	var vips []nic.Addr
	for a, i := netip.MustParseAddr("10.0.0.0"), 0; i < 2*maxVIPs4; a, i = a.Next(), i+1 {
		vips = append(vips, a.As16())
	}
	for a, i := netip.MustParseAddr("fd00::"), 0; i < 2*maxVIPs6; a, i = a.Next(), i+1 {
		vips = append(vips, a.As16())
	}
	s := newSide(t, director, client, "in", 2, vips)
	// Each that it knows is found.
	server := netip.MustParseAddrPort("192.0.2.1:80")
	from := netip.MustParseAddrPort("192.0.2.9:4321")
	want := s.arrive(segment(s.mac, server, from, unix.IPPROTO_TCP, 0, 0))[0]
	var frames []*nic.Frame
	for i := range maxVIPs4 {
		frames = append(frames, segment(s.mac, from, netip.AddrPortFrom(netip.AddrFrom16(vips[i]).Unmap(), 80), unix.IPPROTO_TCP, 0, i))
	}
	for i, q := range s.arrive(frames...) {
		if q != want {
			t.Errorf("address %v: queue %d, want %d", netip.AddrFrom16(vips[i]).Unmap(), q, want)
		}
	}
}
