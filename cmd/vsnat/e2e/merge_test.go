package e2e

import (
	"bytes"
	"net"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/daemon"
)

// sendSegments has the NICs of the client and of the servers send TCP segments one by
// one.
func (s *site) sendSegments() {
	s.t.Helper()
	for _, host := range []string{"client", "server1", "server2", "server3", "server4"} {
		if err := s.Host(host).Do(func() error { return lab.SendSegments(host + "-0") }); err != nil {
			s.t.Fatal(err)
		}
	}
}

// TestMergeTransfers moves big files whose segments come one by one, three at once
// each way: they arrive as they were, and many segments left as parts of others.
func TestMergeTransfers(t *testing.T) {
	s := newSite(t, lab.PaperOptions{IPv6: true})
	s.serveAll()
	for _, ip := range serverIPs {
		s.serveAt(serverName(ip), "["+ip6(ip)+"]:80", ip6(ip))
	}
	s.sendSegments()
	d := s.direct("--merge")
	s.cluster("rr")
	s.cluster6("-t", "80", "-m")
	for _, addr := range []string{web, web6} {
		in, out := d.nic("director-1").Stats, d.nic("director-0").Stats
		s.togetherAt(addr, 3, s.download, bigFile)
		checkMerged(t, addr+": download", in, d.nic("director-1").Stats, out, d.nic("director-0").Stats)
		in, out = d.nic("director-0").Stats, d.nic("director-1").Stats
		s.togetherAt(addr, 3, s.upload, bigFile)
		checkMerged(t, addr+": upload", in, d.nic("director-0").Stats, out, d.nic("director-1").Stats)
	}
}

// checkMerged checks that three big files came in by one NIC in segments, and left by
// another in fewer frames.
func checkMerged(t *testing.T, what string, in, inAfter, out, outAfter daemon.NICStats) {
	t.Helper()
	received, bytes := inAfter.RxFrames-in.RxFrames, inAfter.RxBytes-in.RxBytes
	sent, merged := outAfter.TxFrames-out.TxFrames, outAfter.TxMerged-out.TxMerged
	t.Logf("%s: %d bytes in %d frames, which left in %d with %d more in them", what, bytes, received, sent, merged)
	if bytes < 3*bigFile || received < bytes/1514 {
		t.Errorf("%s: %d bytes came in %d frames; none shall be longer than the wire's", what, bytes, received)
	}
	if merged == 0 || sent >= received {
		t.Errorf("%s: nothing was merged: %d frames came and %d left", what, received, sent)
	}
}

// TestMergeDatagrams has many datagrams wait for the director, so that they are
// judged together: the server's socket, which knows nothing of it, gets them one by
// one, in order.
func TestMergeDatagrams(t *testing.T) {
	s := newSite(t, lab.PaperOptions{IPv6: true})
	d := s.direct("--merge")
	s.ipvsadm("-A -u " + vip + ":7 -s rr")
	s.ipvsadm("-a -u " + vip + ":7 -r " + server1 + ":7 -m")
	s.ipvsadm("-A -u [" + vip6 + "]:7 -s rr")
	s.ipvsadm("-a -u [" + vip6 + "]:7 -r [" + ip6(server1) + "]:7 -m")
	for _, addrs := range [][2]string{{vip + ":7", server1 + ":7"}, {"[" + vip6 + "]:7", "[" + ip6(server1) + "]:7"}} {
		conn, err := s.Host("server1").ListenPacket("udp", addrs[1])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		client := s.dialUDP(addrs[0])
		take := func(want []byte) {
			t.Helper()
			buf := make([]byte, 1<<16)
			_ = conn.SetReadDeadline(time.Now().Add(patience))
			if n, _, err := conn.ReadFrom(buf); err != nil || !bytes.Equal(buf[:n], want) {
				t.Fatalf("%s: received %d bytes that are not the next datagram's %d: %v", addrs[0], n, len(want), err)
			}
		}
		put(t, client, []byte("first"))
		take([]byte("first"))

		const count = 48
		before := d.nic("director-1").Stats
		if err := d.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		for i := range count {
			put(t, client, datagram(i))
		}
		if err := d.cmd.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		for i := range count {
			take(datagram(i))
		}
		after := d.nic("director-1").Stats
		frames, merged := after.TxFrames-before.TxFrames, after.TxMerged-before.TxMerged
		t.Logf("%s: %d datagrams left in %d frames with %d more in them", addrs[0], count, frames, merged)
		if merged < count/2 {
			t.Errorf("%s: of %d datagrams %d left as parts of others", addrs[0], count, merged)
		}
	}
}

func put(t *testing.T, conn net.Conn, b []byte) {
	t.Helper()
	if _, err := conn.Write(b); err != nil {
		t.Fatal(err)
	}
}

// datagram is the i-th of a test; one in ten is shorter.
func datagram(i int) []byte {
	size := 1000
	if i%10 == 9 {
		size = 10 + i
	}
	return bytes.Repeat([]byte{byte(i)}, size)
}
