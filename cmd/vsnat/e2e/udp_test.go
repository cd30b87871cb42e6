package e2e

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// echoes are UDP echo servers on all real servers; they remember who asked.
type echoes struct {
	mu    sync.Mutex
	asked []string // "SERVER from CLIENT", guarded by mu
}

func (s *site) echoUDP(port string) *echoes {
	s.t.Helper()
	e := new(echoes)
	for _, ip := range serverIPs {
		s.echoUDPAt("udp4", ip, ":"+port, e)
	}
	return e
}

// echoUDPAt runs one on the host with one of serverIPs, at an address of it or at
// all.
func (s *site) echoUDPAt(network, ip, address string, e *echoes) {
	s.t.Helper()
	conn, err := s.Host(serverName(ip)).ListenPacket(network, address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if network == "udp4" {
		fragment(s.t, conn)
	}
	go func() {
		for buf := make([]byte, 1<<16); ; {
			n, from, err := conn.ReadFrom(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			e.mu.Lock()
			e.asked = append(e.asked, ip+" from "+from.String())
			e.mu.Unlock()
			_, _ = conn.WriteTo(buf[:n], from) // the client waits for it and tells
		}
	}()
}

// dialUDP connects a UDP socket of the client's.
func (s *site) dialUDP(addr string) net.Conn {
	s.t.Helper()
	conn, err := s.Host("client").Dial(s.t.Context(), "udp", addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

// fragment has routers fragment what the socket sends (IP_PMTUDISC_DONT).
func fragment(t *testing.T, conn any) {
	t.Helper()
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var refused error
	if err := raw.Control(func(fd uintptr) {
		refused = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MTU_DISCOVER, syscall.IP_PMTUDISC_DONT)
	}); err != nil || refused != nil {
		t.Fatal(err, refused)
	}
}

// TestUDP has datagrams echoed, from one that is empty to the largest there is,
// in fragments. A client's port stays with its server; the next port gets the
// next one.
func TestUDP(t *testing.T) {
	const headers = 20 + 8 // IPv4, UDP
	for _, tt := range []struct {
		name string
		mtu  int
	}{
		{"mtu=1500", 1500},
		{"mtu=9000", 9000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{MTU: tt.mtu})
			e := s.echoUDP("7")
			s.direct()
			s.ipvsadm("-A -u " + vip + ":7 -s rr")
			for _, ip := range serverIPs {
				s.ipvsadm("-a -u " + vip + ":7 -r " + ip + ":7 -m")
			}
			var want []string
			for _, ip := range []string{server4, server3, server2, server1, server4} {
				conn := s.dialUDP(vip + ":7")
				buf := make([]byte, 1<<16)
				for _, size := range []int{0, 1, 999, tt.mtu - headers, tt.mtu - headers + 1, 4 * tt.mtu, 1<<16 - 1 - headers} {
					sent := bytes.Repeat([]byte{byte(size)}, size)
					if _, err := conn.Write(sent); err != nil {
						t.Fatal(err)
					}
					n, err := conn.Read(buf)
					if err != nil {
						t.Fatalf("%d bytes: no echo: %v", size, err)
					}
					if !bytes.Equal(buf[:n], sent) {
						t.Errorf("%d bytes: the echo has %d and is not what was sent", size, n)
					}
					want = append(want, ip+" from "+conn.LocalAddr().String())
				}
			}
			e.mu.Lock()
			defer e.mu.Unlock()
			if !slices.Equal(e.asked, want) {
				t.Errorf("the servers were asked\n%v, want\n%v", e.asked, want)
			}
		})
	}
}

// TestClosedServerPort checks that a real server's refusal reaches the client
// at once: its reset, or its ICMP error.
func TestClosedServerPort(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	d := s.direct()
	for _, proto := range []string{"-t ", "-u "} {
		s.ipvsadm("-A " + proto + vip + ":81 -s rr")
		s.ipvsadm("-a " + proto + vip + ":81 -r " + server1 + ":81 -m")
	}
	s.refusedAtOnce(vip + ":81")

	conn := s.dialUDP(vip + ":81")
	_ = conn.SetDeadline(time.Now().Add(time.Second))
	if _, err := conn.Write([]byte("anyone?")); err != nil {
		t.Fatal(err)
	}
	if n, err := conn.Read(make([]byte, 10)); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("UDP to a closed port of the server: %d bytes, %v; want ECONNREFUSED", n, err)
	}
	// The refusals were the server's, not the director's.
	s.eventually("two refusals have come through director-1", func() bool { return d.ledger("director-1").Forwarded == 2 })
	if l := d.ledger("director-0"); l.Replied != 0 {
		t.Errorf("the director itself has answered %d frames", l.Replied)
	}
}

// refusedAtOnce checks that the client's TCP connection is refused, not lost.
func (s *site) refusedAtOnce(addr string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	conn, err := s.Host("client").Dial(ctx, "tcp", addr)
	if err == nil {
		conn.Close()
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		s.t.Errorf("TCP to %s: %v, want ECONNREFUSED within 1 s", addr, err)
	}
}
