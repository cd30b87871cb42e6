package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/pion/logging"
	"github.com/pion/sctp"

	"vsnat/bench/lab"
	"vsnat/nic/guard"
)

// sctpService is the port that the SCTP library's clients use, which they call from
// too; the real server has another one.
const sctpService = vip + ":5000"

// rawSCTP is a raw socket of a host for SCTP packets, which few kernels of test
// machines know themselves: what one peer sends, its IP header taken off. While it
// is open the host's own stack does not refuse them.
type rawSCTP struct {
	net.PacketConn
	peer net.Addr
}

func (s *site) rawSCTP(host, peer string) *rawSCTP {
	s.t.Helper()
	conn, err := s.Host(host).ListenPacket("ip4:132", "0.0.0.0")
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return &rawSCTP{conn, &net.IPAddr{IP: net.ParseIP(peer)}}
}

func (c *rawSCTP) Read(b []byte) (int, error) {
	for {
		n, from, err := c.ReadFrom(b)
		if err != nil || from.String() == c.peer.String() {
			return n, err
		}
	}
}

func (c *rawSCTP) Write(b []byte) (int, error) { return c.WriteTo(b, c.peer) }
func (c *rawSCTP) RemoteAddr() net.Addr        { return c.peer }

// associate has the client associate with the service and returns both ends.
func (s *site) associate(client, server *rawSCTP) (near, far *sctp.Association) {
	s.t.Helper()
	quiet := logging.NewDefaultLoggerFactory()
	quiet.Writer = io.Discard
	accepted := make(chan *sctp.Association, 1)
	failed := make(chan error, 1)
	go func() {
		a, err := sctp.ServerWithOptions(sctp.WithNetConn(server), sctp.WithLoggerFactory(quiet))
		if err != nil {
			failed <- err
			return
		}
		accepted <- a
	}()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	near, err := sctp.ClientContext(ctx, sctp.WithNetConn(client), sctp.WithLoggerFactory(quiet))
	if err != nil {
		s.t.Fatalf("no association: %v", err)
	}
	select {
	case far = <-accepted:
	case err := <-failed:
		s.t.Fatal(err)
	case <-ctx.Done():
		s.t.Fatal("the server has no association")
	}
	return near, far
}

// TestSCTP has an SCTP client and server, in userspace on raw sockets, associate
// through the director, pass a file each way and shut down. The director's own
// kernel, which knows no SCTP, would refuse each packet that it sees.
func TestSCTP(t *testing.T) {
	for _, kind := range []string{guard.TCX, guard.NFT} {
		t.Run(kind, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{Forward: true})
			d := s.directGuarded(kind)
			errorsSeen, err := s.Host("client").ListenPacket("ip4:icmp", clientIP)
			if err != nil {
				t.Fatal(err)
			}
			defer errorsSeen.Close()
			s.ipvsadm("-A --sctp-service " + sctpService + " -s rr")
			s.ipvsadm("-a --sctp-service " + sctpService + " -r " + server1 + ":5001 -m")

			near, far := s.associate(s.rawSCTP("client", vip), s.rawSCTP("server1", clientIP))
			s.shows("SCTP +14:5[0-9] +ESTABLISHED +192.168.28.1:5000 +192.168.28.167:5000 +10.0.100.11:5001", "-L -n -c")
			s.shows(`-> 10.0.100.11:5001 +Masq +1 +1 +0 `, "-L -n")
			s.passFiles(near, far)
			_ = errorsSeen.SetReadDeadline(time.Now())
			if n, from, err := errorsSeen.ReadFrom(make([]byte, 600)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("the client got %d bytes of ICMP from %v (%v)", n, from, err)
			}
			if s.run("director", bin("vsnat"), "conns", "--proto", "sctp").stdout == "" {
				t.Error("vsnat conns --proto sctp shows nothing")
			}

			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := near.Shutdown(ctx); err != nil {
				t.Errorf("shutdown: %v", err)
			}
			s.shows("SCTP +0[01]:[0-9]+ +(CLOSED|S-ACK-SENT) ", "-L -n -c")
			s.shows(`-> 10.0.100.11:5001 +Masq +1 +0 +1 `, "-L -n")

			s.refusesSCTP(s.rawSCTP("client", vip), errorsSeen) // the shutdown has closed the other socket
			s.eventually("the director itself has answered with an ABORT and an ICMP error", func() bool {
				return d.ledger("director-0").Replied == 2
			})
		})
	}
}

// shows waits for a line in what ipvsadm prints.
func (s *site) shows(line, args string) {
	s.t.Helper()
	re := regexp.MustCompile(`(?m)` + line)
	var list string
	defer func() {
		if s.t.Failed() {
			s.t.Logf("ipvsadm %s:\n%s", args, list)
		}
	}()
	s.eventually("ipvsadm "+args+" shows "+line, func() bool {
		list = s.ipvsadm(args)
		return re.MatchString(list)
	})
}

// passFiles sends a file from one end of the association to the other, and back.
func (s *site) passFiles(near, far *sctp.Association) {
	s.t.Helper()
	file := make([]byte, 256<<10)
	_, _ = rand.Read(file) // never fails
	const part = 16 << 10
	out, err := near.OpenStream(1, sctp.PayloadTypeWebRTCBinary)
	if err != nil {
		s.t.Fatal(err)
	}
	read := func(st *sctp.Stream) (got []byte) {
		_ = st.SetReadDeadline(time.Now().Add(patience))
		for buf := make([]byte, part); len(got) < len(file); {
			n, err := st.Read(buf)
			if err != nil {
				s.t.Errorf("after %d bytes: %v", len(got), err)
				return got
			}
			got = append(got, buf[:n]...)
		}
		return got
	}
	write := func(st *sctp.Stream) {
		for rest := file; len(rest) > 0; rest = rest[part:] {
			if _, err := st.WriteSCTP(rest[:part], sctp.PayloadTypeWebRTCBinary); err != nil {
				s.t.Errorf("write: %v", err)
				return
			}
		}
	}
	go write(out)
	in, err := far.AcceptStream()
	if err != nil {
		s.t.Fatal(err)
	}
	if !bytes.Equal(read(in), file) {
		s.t.Error("the file to the server is not what was sent")
	}
	go write(in)
	if !bytes.Equal(read(out), file) {
		s.t.Error("the file to the client is not what was sent")
	}
}

// refusesSCTP checks what the client hears of no association, and of no server.
func (s *site) refusesSCTP(client *rawSCTP, icmp net.PacketConn) {
	s.t.Helper()
	send := func(chunk []byte) {
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{ComputeChecksums: true},
			&layers.SCTP{SrcPort: 6000, DstPort: 5000, VerificationTag: 7}, gopacket.Payload(chunk)); err != nil {
			s.t.Fatal(err)
		}
		if _, err := client.Write(buf.Bytes()); err != nil {
			s.t.Fatal(err)
		}
	}
	send([]byte{0, 3, 0, 17, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 'x', 0, 0, 0}) // DATA
	_ = client.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 1500)
	for {
		n, err := client.Read(buf)
		if err != nil {
			s.t.Fatalf("no ABORT: %v", err)
		}
		p := gopacket.NewPacket(buf[:n], layers.LayerTypeSCTP, gopacket.Default)
		if h := p.Layer(layers.LayerTypeSCTP).(*layers.SCTP); h.DstPort != 6000 {
			continue // a late one of the association
		}
		if a, ok := p.Layer(layers.LayerTypeSCTPAbort).(*layers.SCTPError); !ok || a.Flags != 1 {
			s.t.Errorf("answered with %v, want an ABORT", p)
		}
		break
	}
	s.ipvsadm("-e --sctp-service " + sctpService + " -r " + server1 + ":5001 -m -w 0")
	send(append([]byte{1, 0, 0, 20}, bytes.Repeat([]byte{1}, 16)...)) // INIT
	_ = icmp.SetReadDeadline(time.Now().Add(patience))
	for {
		n, from, err := icmp.ReadFrom(buf)
		if err != nil {
			s.t.Fatalf("of no server the client hears nothing: %v", err)
		}
		// The real server's kernel refuses what is late for an end that is closed.
		if from.String() == vip && n >= 28 && bytes.HasPrefix(buf[:n], []byte{3, 3}) {
			return
		}
	}
}
