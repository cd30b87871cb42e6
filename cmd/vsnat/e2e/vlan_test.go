package e2e

import (
	"net/netip"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/nic/afpacket"
)

// station is a host's NIC that frames are written to and read from as they are.
type station struct {
	s     *site
	dev   *afpacket.Device
	mac   [6]byte
	batch nic.Batch
}

func (s *site) station(host, name string) *station {
	s.t.Helper()
	st := &station{s: s}
	err := s.Host(host).Do(func() (err error) {
		st.dev, err = afpacket.Open(afpacket.Config{Name: name, Slots: 256, SlotSize: 2048})
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { st.dev.Close() })
	n, err := s.Host(host).NIC(name)
	if err != nil {
		s.t.Fatal(err)
	}
	st.mac = [6]byte(n.MAC)
	return st
}

// send sends an IP packet in a frame with a tag.
func (st *station) send(to [6]byte, vlan uint16, ip wire.IP) {
	st.s.t.Helper()
	buf := append(make([]byte, nic.VNetHdrLen+wire.EthernetLen), ip...)
	f := &nic.Frame{Buf: buf, VLAN: vlan, VLANProto: wire.TypeVLAN}
	eth := wire.Ethernet(f.Eth())
	eth.SetDst(to)
	eth.SetSrc(st.mac)
	eth.SetType(ip.EtherType())
	errs := make([]syscall.Errno, 1)
	if st.dev.Send([]*nic.Frame{f}, errs) != 1 {
		st.s.t.Fatal(errs[0])
	}
}

// receive waits for a packet with a transport protocol from an address, and returns
// it and the tag of its frame, 0 for none.
func (st *station) receive(proto uint8, from netip.Addr) (p wire.Packet, vlan uint16) {
	st.s.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if err := st.dev.Wait(100 * time.Millisecond); err != nil {
			st.s.t.Fatal(err)
		}
		n, err := st.dev.Recv(&st.batch)
		if err != nil {
			st.s.t.Fatal(err)
		}
		for i := range n {
			f := &st.batch.Frames[i]
			if p.Parse(f.Eth()) == wire.Parsed && p.Proto == proto && nat.AddrPort(p.Src, 0).Addr() == from {
				if f.VLANProto != 0 {
					vlan = f.VLAN
				}
				st.dev.Release()
				return p, vlan
			}
		}
		st.dev.Release()
	}
	st.s.t.Fatalf("no packet from %s has come", from)
	return p, 0
}

// udpPacket makes an IP packet with a datagram.
func udpPacket(src, dst netip.AddrPort) wire.IP {
	var ip wire.IP
	var l4 []byte
	const size = wire.UDPLen + 4
	if src.Addr().Is6() {
		ip = make(wire.IP, wire.IPv6Len+size)
		wire.IPv6(ip).Encode(&wire.IPv6Fields{PayloadLen: size, NextHeader: nat.ProtoUDP, HopLimit: 64, Src: src.Addr().As16(), Dst: dst.Addr().As16()})
	} else {
		ip = make(wire.IP, wire.IPv4MinLen+size)
		wire.IPv4(ip).Encode(&wire.IPv4Fields{TotalLen: len(ip), TTL: 64, Protocol: nat.ProtoUDP, Src: src.Addr().As4(), Dst: dst.Addr().As4()})
	}
	l4 = ip[ip.HeaderLen():]
	wire.UDP(l4).Encode(&wire.UDPFields{SrcPort: src.Port(), DstPort: dst.Port(), Length: size})
	copy(l4[wire.UDPLen:], "ping")
	wire.UDP(l4).SetChecksum(wire.SumToChecksum(wire.Sum(l4, ip.PseudoSum(nat.ProtoUDP, size))))
	return ip
}

// TestTaggedFrames has a client and a server in a VLAN for which the director has no
// interface, all on one switch: frames keep their tag, and the director's own answers
// get it.
func TestTaggedFrames(t *testing.T) {
	need(t, "iputils-ping")
	topology, err := lab.Direct(lab.PaperOptions{IPv6: true, Servers: 1})
	if err != nil {
		t.Fatal(err)
	}
	s := newSiteOf(t, topology)
	s.serve("server1")
	s.direct()
	director, err := s.Host("director").NIC("director-0")
	if err != nil {
		t.Fatal(err)
	}
	client, server := s.station("client", "client-0"), s.station("server1", "server1-0")
	for _, c := range []struct{ clientIP, vip, serverIP string }{
		{clientIP, vip, server1}, {clientIP6, vip6, ip6(server1)},
	} {
		at := func(ip string, port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr(ip), port) }
		service := at(c.vip, 7).String()
		s.ipvsadm("-A -u " + service + " -s rr")
		s.ipvsadm("-a -u " + service + " -r " + at(c.serverIP, 7).String() + " -m")
		// The director's host learns where they are, without tags.
		s.must("director", find("ping"), "-n", "-c", "1", "-W", "5", c.clientIP)
		s.must("director", find("ping"), "-n", "-c", "1", "-W", "5", c.serverIP)
		client.send([6]byte(director.MAC), 6<<13|10, udpPacket(at(c.clientIP, 1000), at(c.vip, 7)))
		p, vlan := server.receive(nat.ProtoUDP, netip.MustParseAddr(c.clientIP))
		if to := nat.AddrPort(p.Dst, p.DstPort); to != at(c.serverIP, 7) || vlan != 6<<13|10 {
			t.Errorf("went to %s with tag %#x", to, vlan)
		}
		server.send([6]byte(director.MAC), 10, udpPacket(at(c.serverIP, 7), at(c.clientIP, 1000)))
		p, vlan = client.receive(nat.ProtoUDP, netip.MustParseAddr(c.vip))
		if to := nat.AddrPort(p.Dst, p.DstPort); to != at(c.clientIP, 1000) || vlan != 10 {
			t.Errorf("the answer went to %s with tag %#x", to, vlan)
		}
		s.ipvsadm("-d -u " + service + " -r " + at(c.serverIP, 7).String())
		client.send([6]byte(director.MAC), 10, udpPacket(at(c.clientIP, 1001), at(c.vip, 7)))
		icmp := wire.ProtoICMP
		if netip.MustParseAddr(c.vip).Is6() {
			icmp = wire.ProtoICMPv6
		}
		if _, vlan := client.receive(icmp, netip.MustParseAddr(c.vip)); vlan != 10 {
			t.Errorf("the director's own answer has tag %#x", vlan)
		}
	}
}
