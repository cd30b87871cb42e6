package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// TestPersistence has a client stay with its server, whatever rr would do, and
// ipvsadm show the template and the options as the kernel's does.
func TestPersistence(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.ipvsadm("-A -t " + web + " -s rr -p 300 -M 255.255.255.0")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -t " + web + " -r " + ip + ":80 -m")
	}
	if got, want := s.pages(5), slices.Repeat([]string{server4}, 5); !slices.Equal(got, want) {
		t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
	}
	// The client's network, without a port; the template lives on, renewed by
	// every connection.
	for want := range strings.SplitSeq("192.168.28.0:0 "+web+" "+server4+":80 ASSURED", " ") {
		if out := s.ipvsadm("-Lnc"); !strings.Contains(out, want) {
			t.Errorf("ipvsadm -Lnc does not show %s:\n%s", want, out)
		}
	}
	if out := s.ipvsadm("-Ln"); !strings.Contains(out, "rr persistent 300 mask 255.255.255.0") {
		t.Errorf("ipvsadm -Ln:\n%s", out)
	}
	if out := s.ipvsadm("-Sn"); !strings.Contains(out, "-A -t "+web+" -s rr -p 300 -M 255.255.255.0\n") {
		t.Errorf("ipvsadm -Sn:\n%s", out)
	}
	if out := strings.Fields(s.ipvsadm("-Ln --persistent-conn")); !slices.Contains(out, server4+":80") ||
		out[slices.Index(out, server4+":80")+2] != "1" {
		t.Errorf("ipvsadm -Ln --persistent-conn: %q", out)
	}
	s.ipvsadm("-d -t " + web + " -r " + server4 + ":80")
	if got, want := s.pages(3), slices.Repeat([]string{server3}, 3); !slices.Equal(got, want) {
		t.Errorf("when the server is deleted: %v, want %v", got, want)
	}
}

// TestPersistenceOfAllPorts has a client's connections to any port of the VIP go
// to one server.
func TestPersistenceOfAllPorts(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	for i, ip := range serverIPs {
		s.serveAt("server"+string('1'+rune(i)), ip+":8080", ip)
	}
	s.direct()
	s.ipvsadm("-A -t " + vip + ":0 -s rr -p")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -t " + vip + ":0 -r " + ip + " -m")
	}
	for _, port := range []string{":80", ":8080", ":80"} {
		if got := s.page("client", vip+port).server; got != server4 {
			t.Errorf("port %s was answered by %s, want %s", port, got, server4)
		}
	}
}

// TestOnePacket has every datagram of one client's port go to the next server.
func TestOnePacket(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	e := s.echoUDP("7")
	s.direct()
	s.ipvsadm("-A -u " + vip + ":7 -s rr -o")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -u " + vip + ":7 -r " + ip + ":7 -m")
	}
	conn := s.dialUDP(vip + ":7")
	var want []string
	for _, ip := range []string{server4, server3, server2, server1, server4} {
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		want = append(want, ip+" from "+conn.LocalAddr().String())
		s.eventually("the datagram arrived", func() bool {
			e.mu.Lock()
			defer e.mu.Unlock()
			return len(e.asked) == len(want)
		})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if !slices.Equal(e.asked, want) {
		t.Errorf("the servers were asked\n%v, want\n%v", e.asked, want)
	}
	// The answers belong to no connection: they do not come from the VIP.
	_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	if n, err := conn.Read(make([]byte, 9)); err == nil {
		t.Errorf("an answer of %d bytes came from the VIP", n)
	}
	if out := s.ipvsadm("-Ln"); !strings.Contains(out, "rr ops") {
		t.Errorf("ipvsadm -Ln:\n%s", out)
	}
}

// TestMarkServiceCommands has services by firewall mark listed and saved as the
// kernel's are.
func TestMarkServiceCommands(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.direct()
	s.ipvsadm("-A -f 7 -s lblc -p 60")
	s.ipvsadm("-a -f 7 -r " + server1 + ":80 -m")
	if out := s.ipvsadm("-Sn"); out != "-A -f 7 -s lblc -p 60\n-a -f 7 -r "+server1+":80 -m -w 1\n" {
		t.Errorf("ipvsadm -Sn:\n%s", out)
	}
	s.ipvsadm("-E -f 7 -s dh")
	if out := s.ipvsadm("-Ln -f 7"); !strings.Contains(out, "FWM  7 dh\n") {
		t.Errorf("ipvsadm -Ln -f 7:\n%s", out)
	}
	s.ipvsadm("-D -f 7")
}
