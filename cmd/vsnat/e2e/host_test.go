package e2e

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// TestHostKeepsItsOwn checks that what is not the service's stays with the
// director's own host, ip_forward on or off.
func TestHostKeepsItsOwn(t *testing.T) {
	for _, tt := range []struct {
		name    string
		forward bool
	}{
		{"ip_forward=0", false},
		{"ip_forward=1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{Forward: tt.forward})
			s.serveAll()
			s.serveAt("director", ":8080", "the director")
			s.direct()
			s.cluster("rr")
			s.pages(4)
			s.checkHost()
			if tt.forward {
				s.checkDirect()
			}
			s.pages(4)
		})
	}
}

// checkHost checks the VIP's other ports, ping, and health checks from the
// director to a server whose port the guard watches. The director's host serves
// pages at port 8080.
func (s *site) checkHost() {
	s.t.Helper()
	if a := s.page("client", vip+":8080"); a.server != "the director" {
		s.t.Errorf("port 8080 of the VIP is served by %s, want the director", a.server)
	}
	s.refusedAtOnce(vip + ":8081")
	s.ping(vip)
	for _, ip := range serverIPs {
		if a := s.page("director", ip+":80"); a.server != ip {
			s.t.Errorf("the health check of %s is answered by %s", ip, a.server)
		}
	}
}

// checkDirect checks that the client reaches a real server through the
// director's kernel, though the guard watches that server's port.
func (s *site) checkDirect() {
	s.t.Helper()
	if a := s.page("client", server1+":80"); a.server != server1 {
		s.t.Errorf("%s, asked directly, is answered by %s", server1, a.server)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	if err := s.download(ctx, server1+":80", 1, bigFile/10); err != nil {
		s.t.Error(err)
	}
	if err := s.upload(ctx, server1+":80", 2, bigFile/10); err != nil {
		s.t.Error(err)
	}
	s.refusedAtOnce(server1 + ":81")
}

// ping sends echo requests from the client and waits for the replies.
func (s *site) ping(addr string) {
	s.t.Helper()
	conn, err := s.Host("client").ListenPacket("ip4:icmp", clientIP)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	for seq := range uint16(3) {
		if err := echo(conn, addr, 0x7673, seq); err != nil {
			s.t.Errorf("ping %s: %v", addr, err)
		}
	}
}

// echo sends one ICMP echo request (RFC 792) and waits for its reply.
func echo(conn net.PacketConn, addr string, id, seq uint16) error {
	request := []byte{8, 0, 0, 0, 0, 0, 0, 0, 'v', 's', 'n', 'a', 't', '!'}
	binary.BigEndian.PutUint16(request[4:], id)
	binary.BigEndian.PutUint16(request[6:], seq)
	binary.BigEndian.PutUint16(request[2:], ^onesSum(request))
	if _, err := conn.WriteTo(request, &net.IPAddr{IP: net.ParseIP(addr)}); err != nil {
		return err
	}
	for buf := make([]byte, 1500); ; {
		n, from, err := conn.ReadFrom(buf)
		if err != nil {
			return fmt.Errorf("no reply to echo request %d: %w", seq, err)
		}
		// The socket gets every ICMP message; type 0 is an echo reply.
		if n == len(request) && buf[0] == 0 && string(buf[4:n]) == string(request[4:]) {
			if from.String() != addr {
				return fmt.Errorf("the reply comes from %v", from)
			}
			return nil
		}
	}
}

// onesSum is the one's complement sum of an even number of bytes (RFC 1071).
func onesSum(b []byte) uint16 {
	var sum uint32
	for ; len(b) > 0; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
