package tun_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/nic"
	"vsnat/nic/afpacket"
	"vsnat/nic/netns"
	"vsnat/nic/tun"
)

var (
	server = netip.MustParseAddrPort("192.0.2.1:7")
	client = netip.MustParseAddrPort("198.51.100.7:40000")
)

// inside runs the test in a namespace of its own, where lo has the server's address
// and reverse path filtering is strict.
func inside(t *testing.T, f func()) {
	t.Helper()
	ns, err := netns.New()
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_SYS_ADMIN and CAP_NET_ADMIN")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	if err := netns.Do(ns, func() error {
		for _, key := range []string{"all", "default"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+key+"/rp_filter", []byte("1"), 0); err != nil {
				return err
			}
		}
		lo, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(lo)
		}
		if err == nil {
			err = netlink.AddrAdd(lo, &netlink.Addr{IPNet: &net.IPNet{IP: server.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}})
		}
		if err == nil {
			f()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// datagram is a frame with a UDP datagram whose checksum is still to be completed.
func datagram(from, to netip.AddrPort, payload []byte) *nic.Frame {
	b := make([]byte, nic.VNetHdrLen+14+28+len(payload))
	f := &nic.Frame{Buf: b, WireLen: len(b) - nic.VNetHdrLen}
	ip := f.Eth()[14:]
	f.Eth()[12] = 8
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], from.Addr().AsSlice())
	copy(ip[16:], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip[:20], 0))
	udp := ip[20:]
	binary.BigEndian.PutUint16(udp, from.Port())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	binary.BigEndian.PutUint16(udp[4:], uint16(len(udp)))
	copy(udp[8:], payload)
	binary.BigEndian.PutUint16(udp[6:], sum(ip[12:20], 17+uint32(len(udp))))
	h := f.VNet()
	h[0] = nic.VNetNeedsCsum
	binary.NativeEndian.PutUint16(h[6:], 14+20)
	binary.NativeEndian.PutUint16(h[8:], 6)
	return f
}

func sum(b []byte, s uint32) uint16 {
	for i := 0; i < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// up returns a device that is up, to be closed by the caller.
func up(t *testing.T) *tun.Device {
	t.Helper()
	d, err := tun.Open("vsnat0")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Up(1400); err != nil {
		t.Fatal(err)
	}
	return d
}

// A packet that is sent reaches a socket of the host, whose answer comes back by the
// device; other packets of the host do not. With the device the way is gone.
func TestHostAnswersByTheDevice(t *testing.T) {
	inside(t, func() {
		d := up(t)
		defer d.Close()
		key := tun.From{Addr: server.Addr().As16(), Port: server.Port(), Proto: 17}
		if err := tun.Steer([]tun.From{key}); err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenPacket("udp4", server.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		other, err := net.ListenPacket("udp4", "192.0.2.1:8")
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()

		f := datagram(client, server, []byte("hello!"))
		f.Buf, f.Tail = f.Buf[:len(f.Buf)-3], f.Buf[len(f.Buf)-3:]
		errs := make([]unix.Errno, 1)
		if n := d.Send([]*nic.Frame{f}, errs); n != 1 {
			t.Fatalf("not sent: %v", errs)
		}
		buf := make([]byte, 100)
		_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, from, err := conn.ReadFrom(buf)
		if err != nil || string(buf[:n]) != "hello!" || from.String() != client.String() {
			t.Fatalf("%q from %v, %v", buf[:n], from, err)
		}
		if _, err := other.WriteTo([]byte("x"), from); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("another port's packet: %v", err)
		}
		if _, err := conn.WriteTo([]byte("world"), from); err != nil {
			t.Fatal(err)
		}
		got := receive(t, d)
		ip := got.Eth()[14:]
		if !bytes.Equal(ip[12:16], server.Addr().AsSlice()) || !bytes.HasSuffix(ip, []byte("world")) ||
			got.Eth()[12] != 8 || got.VNet().Partial() && got.VNet().CsumStart() != 14+20 || got.WireLen != len(got.Eth()) || !got.Prepend(nic.Headroom) {
			t.Errorf("received % x", got.Buf)
		}
		if st := d.Stats(); st.TxFrames != 1 || st.RxFrames == 0 {
			t.Errorf("%+v", st)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := conn.WriteTo([]byte("x"), from); !errors.Is(err, unix.ENETUNREACH) {
			t.Errorf("without the device: %v", err)
		}
	})
}

// receive waits for an IPv4 packet.
func receive(t *testing.T, d *tun.Device) *nic.Frame {
	t.Helper()
	var b nic.Batch
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		if err := d.Wait(time.Second); err != nil {
			t.Fatal(err)
		}
		n, err := d.Recv(&b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range n {
			if b.Frames[i].Eth()[14]>>4 == 4 {
				f := b.Frames[i]
				return &f
			}
		}
	}
	t.Fatal("nothing came")
	return nil
}

// Rules are made, kept and deleted as they are wanted; those of others stay.
func TestSteer(t *testing.T) {
	inside(t, func() {
		foreign := netlink.NewRule()
		foreign.Table, foreign.Priority, foreign.Family = tun.Table, 7, unix.AF_INET
		if err := netlink.RuleAdd(foreign); err != nil {
			t.Fatal(err)
		}
		v4 := tun.From{Addr: server.Addr().As16(), Port: 80, Proto: 6}
		all := tun.From{Addr: netip.MustParseAddr("192.0.2.9").As16(), Proto: 17}
		v6 := tun.From{Addr: netip.MustParseAddr("2001:db8::1").As16(), Port: 80, Proto: 6}
		for _, want := range [][]tun.From{{v4}, {v4, all, v6}, {v4, all, v6}, {v6}, nil} {
			if err := tun.Steer(want); err != nil {
				t.Fatal(err)
			}
			n := 0
			for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
				rules, err := netlink.RuleList(family)
				if err != nil {
					t.Fatal(err)
				}
				for _, r := range rules {
					if r.Table == tun.Table {
						n++
					}
				}
			}
			if n != len(want)+1 {
				t.Errorf("%d rules for %v", n-1, want)
			}
		}
	})
}

func TestOpenTwice(t *testing.T) {
	inside(t, func() {
		d, err := tun.Open("vsnat0")
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		if _, err := tun.Open("vsnat0"); !errors.Is(err, unix.EBUSY) {
			t.Errorf("%v", err)
		}
	})
}

// TestMergedDatagrams has a socket of the host receive them one by one.
func TestMergedDatagrams(t *testing.T) {
	if !afpacket.TakesDatagrams() {
		t.Skip("the kernel does not take merged datagrams")
	}
	inside(t, func() {
		d := up(t)
		defer d.Close()
		if err := tun.Steer([]tun.From{{Addr: server.Addr().As16(), Port: server.Port(), Proto: 17}}); err != nil {
			t.Fatal(err)
		}
		conn, err := net.ListenPacket("udp4", server.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		f := datagram(client, server, []byte("helloworld!"))
		at := len(f.Buf) - len("helloworld!")
		f.Segments = [][]byte{f.Buf[at : at+5], f.Buf[at+5 : at+10], f.Buf[at+10:]}
		f.Buf = f.Buf[:at]
		f.VNet().SegmentDatagrams(14+28, 14+20, 5)
		errs := make([]unix.Errno, 1)
		if n := d.Send([]*nic.Frame{f}, errs); n != 1 {
			t.Fatalf("not sent: %v", errs)
		}
		for _, want := range []string{"hello", "world", "!"} {
			buf := make([]byte, 100)
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if n, _, err := conn.ReadFrom(buf); err != nil || string(buf[:n]) != want {
				t.Fatalf("%q, %v; want %q", buf[:n], err, want)
			}
		}
		if st := d.Stats(); st.TxFrames != 1 || st.TxMerged != 2 || st.TxBytes != 14+28+11 {
			t.Errorf("%+v", st)
		}
	})
}
