package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"vsnat/bench/lab"
	"vsnat/nic/guard"
)

// raw opens a raw socket of a host for packets of one protocol. While it is open
// the host's own stack does not refuse them.
func (s *site) raw(host, protocol string) net.PacketConn {
	s.t.Helper()
	conn, err := s.Host(host).ListenPacket("ip4:"+protocol, "0.0.0.0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return conn
}

// passes sends a payload from one socket to an address and waits until the other
// socket has it, from whom it should be.
func (s *site) passes(from, to net.PacketConn, dst net.Addr, payload []byte, source string) {
	s.t.Helper()
	if _, err := from.WriteTo(payload, dst); err != nil {
		s.t.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1500)
	n, src, err := to.ReadFrom(buf)
	if err != nil {
		s.t.Fatalf("to %v: %v", dst, err)
	}
	if src.String() != source || !bytes.Equal(buf[:n], payload) {
		s.t.Errorf("to %v: %q came from %v, want %q from %s", dst, buf[:n], src, payload, source)
	}
}

// TestIPsec has a client and a server agree on keys by UDP port 500, as it were, and
// packets of ESP and AH follow that connection: there and back with masquerading,
// and to the virtual address itself with direct routing. The director's own stack,
// which has no such protocols, would refuse each packet that it sees.
func TestIPsec(t *testing.T) {
	const ike = vip + ":500"
	vipAddr, clientAddr := &net.IPAddr{IP: net.ParseIP(vip)}, &net.IPAddr{IP: net.ParseIP(clientIP)}
	for _, tt := range []struct {
		name, guard, method string
		topology            func(lab.PaperOptions) (lab.Topology, error)
	}{
		{"masq by tcx", guard.TCX, "-m", lab.Paper},
		{"masq by nft", guard.NFT, "-m", lab.Paper},
		{"direct", guard.TCX, "-g", lab.Direct},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topology, err := tt.topology(lab.PaperOptions{})
			if err != nil {
				t.Fatal(err)
			}
			s := newSiteOf(t, topology)
			d := s.directGuarded(tt.guard)
			s.ipvsadm("-A -u " + ike + " -s rr")
			s.ipvsadm("-a -u " + ike + " -r " + server1 + ":500 " + tt.method)
			refusals := s.raw("client", "icmp")

			udp := [2]net.PacketConn{}
			for i, host := range []string{"client", "server1"} {
				if udp[i], err = s.Host(host).ListenPacket("udp4", ":500"); err != nil {
					t.Fatal(err)
				}
				defer udp[i].Close()
			}
			s.passes(udp[0], udp[1], &net.UDPAddr{IP: vipAddr.IP, Port: 500}, []byte("keys"), clientIP+":500")
			for _, protocol := range []string{"50", "51"} {
				client, server := s.raw("client", protocol), s.raw("server1", protocol)
				payload := []byte("\x12\x34\x56\x78\x00\x00\x00\x01 of protocol " + protocol)
				s.passes(client, server, vipAddr, payload, clientIP)
				if tt.method == "-m" {
					s.passes(server, client, clientAddr, payload, vip)
				}
			}
			_ = refusals.SetReadDeadline(time.Now())
			if n, from, err := refusals.ReadFrom(make([]byte, 600)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client got %d bytes of ICMP from %v (%v)", n, from, err)
			}
			s.shows(`UDP +0[45]:[0-9]+ +UDP +192.168.28.1:500 +192.168.28.167:500 +10.0.100.11:500`, "-L -n -c")
			if l := d.ledger("director-0"); l.Replied != 0 || l.Forwarded < 3 {
				t.Errorf("%+v", l)
			}
		})
	}
}
