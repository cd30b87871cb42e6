package e2e

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// sipPhone is the client's UDP socket at SIP's port.
func (s *site) sipPhone() net.PacketConn {
	s.t.Helper()
	conn, err := s.Host("client").ListenPacket("udp4", clientIP+":5060")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(patience))
	return conn
}

func sipRequest(callID string) []byte {
	return []byte("OPTIONS sip:vsnat.example SIP/2.0\r\nTo: <sip:vsnat.example>\r\nCall-ID: " + callID + "\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n")
}

// TestSIP has the messages of one phone go by their calls to the servers, lists the
// calls, and has a server call the phone.
func TestSIP(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	e := s.echoUDP("5060")
	s.direct()
	service := vip + ":5060"
	s.ipvsadm("-A -u " + service + " -s rr -p 300 --pe sip")
	for _, ip := range serverIPs {
		s.ipvsadm("-a -u " + service + " -r " + ip + ":5060 -m")
	}
	if saved := s.ipvsadm("-S -n"); !strings.Contains(saved, "-A -u "+service+" -s rr -p 300 --pe sip") {
		t.Errorf("saved as\n%s", saved)
	}
	phone := s.sipPhone()
	buf := make([]byte, 2000)
	to := &net.UDPAddr{IP: net.ParseIP(vip), Port: 5060}
	ask := func(callID string) {
		t.Helper()
		if _, err := phone.WriteTo(sipRequest(callID), to); err != nil {
			t.Fatal(err)
		}
		n, from, err := phone.ReadFrom(buf)
		if err != nil || from.String() != service || !strings.Contains(string(buf[:n]), callID) {
			t.Fatalf("%s: %q from %v (%v)", callID, buf[:n], from, err)
		}
	}
	// One socket: without the engine all would be one connection to one server.
	s.ipvsadm("-E -u " + service + " -s rr -p 300 --pe sip -o")
	for i := range 3 * len(serverIPs) {
		ask(fmt.Sprintf("call%d@phone", i%len(serverIPs)))
	}
	count := map[string]int{}
	e.mu.Lock()
	for _, who := range e.asked {
		count[who]++
	}
	e.mu.Unlock()
	for _, ip := range serverIPs {
		if n := count[ip+" from "+clientIP+":5060"]; n != 3 {
			t.Errorf("%s got %d messages, want the 3 of one call: %v", ip, n, count)
		}
	}
	list := s.ipvsadm("-L -n -c --persistent-conn")
	for i := range serverIPs {
		line := fmt.Sprintf(`(?m)^UDP 0[45]:[0-9]{2}  ASSURED     192\.168\.28\.1:0 +192\.168\.28\.167:5060 10\.0\.100\.1[1235]:5060 +sip +call%d@phone$`, i)
		if !regexp.MustCompile(line).MatchString(list) {
			t.Errorf("no line %s in\n%s", line, list)
		}
	}

	// A server calls.
	server, err := s.Host("server1").Dial(t.Context(), "udp4", clientIP+":5060")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	s.ipvsadm("-a -u " + service + " -r " + server.LocalAddr().String() + " -m -w 0")
	if _, err := server.Write(sipRequest("reminder@server1")); err != nil {
		t.Fatal(err)
	}
	n, from, err := phone.ReadFrom(buf)
	if err != nil || from.String() != service || !strings.Contains(string(buf[:n]), "reminder@server1") {
		t.Fatalf("the phone hears %q from %v (%v)", buf[:n], from, err)
	}
	if _, err := phone.WriteTo(sipRequest("reminder@server1"), from); err != nil {
		t.Fatal(err)
	}
	_ = server.SetDeadline(time.Now().Add(patience))
	if n, err = server.Read(buf); err != nil || !strings.Contains(string(buf[:n]), "reminder@server1") {
		t.Errorf("the server that called hears %q (%v)", buf[:n], err)
	}
}
