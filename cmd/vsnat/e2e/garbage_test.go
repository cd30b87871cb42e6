package e2e

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/bench/lab"
)

// garbageFrames is how many each of two NICs sends.
const garbageFrames = 10_000

// TestGarbage sends frames of random bytes, and packets with random damage,
// from the client's NIC and from a server's, while files pass.
func TestGarbage(t *testing.T) {
	s := newSite(t, lab.PaperOptions{Forward: true})
	s.serveAll()
	d := s.direct()
	s.cluster("rr")
	s.pages(4)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var sources []*garbage
	for i, cable := range []struct{ host, nic, director string }{
		{"client", "client-0", "director-0"},
		{"server1", "server1-0", "director-1"},
	} {
		g, err := newGarbage(s, cable.host, cable.nic, cable.director, rand.New(rand.NewPCG(seed, uint64(i))))
		if err != nil {
			t.Fatal(err)
		}
		defer g.close()
		sources = append(sources, g)
	}

	ctx, cancel := context.WithTimeout(context.Background(), 3*patience)
	defer cancel()
	var running atomic.Int32
	running.Store(int32(len(sources)))
	errs := make(chan error, len(sources))
	for _, g := range sources {
		go func() {
			defer running.Add(-1)
			errs <- g.send(ctx, garbageFrames)
		}()
	}
	files := 0
	for ; files == 0 || running.Load() > 0; files++ {
		if err := s.download(ctx, web, 1, bigFile); err != nil {
			t.Fatalf("download amid garbage: %v", err)
		}
		if err := s.upload(ctx, web, 2, bigFile); err != nil {
			t.Fatalf("upload amid garbage: %v", err)
		}
	}
	for range sources {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d files each way", files)

	if !d.running() {
		t.Fatal("vsnat run has ended")
	}
	// The switch drops some, but nothing stands between client and director.
	if l := d.ledger("director-0"); l.Received+l.RingFull < garbageFrames {
		t.Errorf("director-0 saw %d frames, at least %d were sent", l.Received+l.RingFull, garbageFrames)
	} else {
		t.Logf("director-0: %+v", l)
	}
	s.pages(8)
}

// garbage sends frames by one NIC that no network stack would.
type garbage struct {
	rand     *rand.Rand
	fd       int
	own, dst net.HardwareAddr
}

// newGarbage opens a NIC of a host for sending; director is the NIC that it
// leads to.
func newGarbage(s *site, host, nic, director string, r *rand.Rand) (*garbage, error) {
	n, err := s.Host(host).NIC(nic)
	if err != nil {
		return nil, err
	}
	to, err := s.Host("director").NIC(director)
	if err != nil {
		return nil, err
	}
	g := &garbage{rand: r, own: n.MAC, dst: to.MAC}
	err = s.Host(host).Do(func() error {
		if g.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		// Protocol 0: it only sends.
		return errors.Join(
			unix.Bind(g.fd, &unix.SockaddrLinklayer{Ifindex: n.Index}),
			unix.SetsockoptTimeval(g.fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: 5}),
		)
	})
	return g, err
}

func (g *garbage) close() { _ = unix.Close(g.fd) }

// send sends n frames, in bursts with gaps so that files pass meanwhile.
func (g *garbage) send(ctx context.Context, n int) error {
	for i := 0; i < n; {
		_, err := unix.Write(g.fd, g.frame())
		switch {
		case err == nil:
			i++
		case errors.Is(err, syscall.ENOBUFS), errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		default:
			return err
		}
		if i%50 == 0 {
			time.Sleep(time.Millisecond)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// frame returns the next frame: one third are random altogether, one third have
// a true Ethernet header, and one third are packets to the service with some
// bytes changed.
func (g *garbage) frame() []byte {
	f := make([]byte, 14+g.rand.IntN(1501))
	for i := range f {
		f[i] = byte(g.rand.Uint32())
	}
	kind := g.rand.IntN(3)
	if kind == 0 {
		return f
	}
	copy(f, g.dst)
	copy(f[6:], g.own)
	types := []uint16{unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_8021Q, unix.ETH_P_8021AD, unix.ETH_P_MPLS_UC}
	binary.BigEndian.PutUint16(f[12:], types[g.rand.IntN(len(types))])
	if kind == 1 {
		return f
	}
	for len(f) < 14+20+8+20+20 {
		f = append(f, 0)
	}
	binary.BigEndian.PutUint16(f[12:], unix.ETH_P_IP)
	g.packet(f[14:], 2)
	for range g.rand.IntN(4) {
		f[14+g.rand.IntN(60)] = byte(g.rand.Uint32())
	}
	return f
}

// packet makes b an IPv4 packet from nobody's address to the service, or as if
// from a real server; an ICMP error quotes another such packet.
func (g *garbage) packet(b []byte, depth int) {
	if len(b) < 40 {
		return
	}
	b[0], b[1] = 0x45, 0
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6], b[7] = 0, 0
	if g.rand.IntN(4) == 0 { // a fragment
		b[6], b[7] = byte(g.rand.IntN(64)), byte(g.rand.Uint32())
	}
	b[8], b[9] = 64, []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_ICMP, unix.IPPROTO_SCTP}[g.rand.IntN(4)]
	// 198.51.100.0/24 is nobody's (RFC 5737): no damage of a byte or two makes
	// it the client's, whose connections thus stay out of it.
	far := []byte{198, 51, 100, byte(g.rand.Uint32())}
	if g.rand.IntN(2) == 0 {
		copy(b[12:], far)
		copy(b[16:], net.ParseIP(vip).To4())
		binary.BigEndian.PutUint16(b[22:], 80)
	} else {
		copy(b[12:], net.ParseIP(server1).To4())
		copy(b[16:], far)
		binary.BigEndian.PutUint16(b[20:], 80)
	}
	b[10], b[11] = 0, 0
	binary.BigEndian.PutUint16(b[10:], ^onesSum(b[:20]))
	if b[9] == unix.IPPROTO_ICMP && depth > 0 {
		b[20], b[21] = []byte{3, 4, 5, 11, 12}[g.rand.IntN(5)], byte(g.rand.IntN(16))
		g.packet(b[28:], depth-1)
		if rest := b[20 : len(b)&^1]; len(rest) > 4 {
			b[22], b[23] = 0, 0
			binary.BigEndian.PutUint16(b[22:], ^onesSum(rest))
		}
	}
}
