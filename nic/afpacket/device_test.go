package afpacket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// patience is how long a test waits for what must happen before it fails.
const patience = 20 * time.Second

// testProto is an EtherType for local experiments (IEEE 802).
const testProto = 0x88b5

// pair is two namespaces joined by a wire, with a device at both ends.
func pair(t *testing.T, cfg Config) (near, far *Device, n, f *space) {
	t.Helper()
	n, f = newSpace(t), newSpace(t)
	wire(t, n, "near", f, "far")
	cfg.Name = "near"
	near = n.open(cfg)
	far = f.open(Config{Name: "far"})
	return near, far, n, f
}

// frame builds a frame of n bytes with the virtio-net header of a complete one.
func frame(dst net.HardwareAddr, seq, n int) *nic.Frame {
	b := make([]byte, nic.VNetHdrLen+n)
	eth := b[nic.VNetHdrLen:]
	copy(eth, dst)
	copy(eth[6:], []byte{2, 0, 0, 0, 0, 9})
	binary.BigEndian.PutUint16(eth[12:], testProto)
	for i := 14; i < n; i++ {
		eth[i] = byte(i * 7)
	}
	binary.BigEndian.PutUint32(eth[14:], uint32(seq))
	return &nic.Frame{Buf: b, WireLen: n}
}

// seq returns the number that a frame was built with.
func seq(f *nic.Frame) int { return int(binary.BigEndian.Uint32(f.Eth()[14:])) }

// sendAll sends the frames and fails the test if one is not sent.
func sendAll(t *testing.T, s nic.Sender, frames ...*nic.Frame) {
	t.Helper()
	errs := make([]unix.Errno, len(frames))
	if n := s.Send(frames, errs); n != len(frames) {
		t.Fatalf("sent %d of %d frames: %v", n, len(frames), errs)
	}
}

// receive returns a batch with at least one frame, not yet released.
func receive(t *testing.T, d nic.Receiver, b *nic.Batch) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		n, err := d.Recv(b)
		check(t, err)
		if n > 0 {
			return
		}
		check(t, d.Wait(100*time.Millisecond))
	}
	t.Fatal("no frame came")
}

func TestFrameArrivesAsSent(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	before := time.Now().Add(-time.Second)

	mac := n.mac("near")
	broadcast := net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	multicast := net.HardwareAddr{1, 0, 0x5e, 0, 0, 9}
	other := net.HardwareAddr{2, 0, 0, 0, 0, 77}
	rows := []struct {
		dst  net.HardwareAddr
		n    int
		want nic.PacketType
	}{
		{mac, 60, nic.ToHost},
		{mac, 61, nic.ToHost},
		{mac, 1514, nic.ToHost},
		{broadcast, 64, nic.ToBroadcast},
		{multicast, 64, nic.ToMulticast},
		{other, 64, nic.ToOther},
	}
	var sent []*nic.Frame
	for i, r := range rows {
		sent = append(sent, frame(r.dst, i, r.n))
	}
	sendAll(t, far, sent...)

	var b nic.Batch
	for i := 0; i < len(rows); near.Release() {
		receive(t, near, &b)
		for _, f := range b.Frames[:b.N] {
			if !bytes.Equal(f.Buf, sent[i].Buf) {
				t.Errorf("row %d: got\n%x, sent\n%x", i, f.Buf, sent[i].Buf)
			}
			if f.Type != rows[i].want || f.WireLen != rows[i].n || f.Cut() || f.VLANProto != 0 {
				t.Errorf("row %d: type %d, wire length %d, VLAN %#x", i, f.Type, f.WireLen, f.VLANProto)
			}
			if at := time.Unix(0, f.Time); at.Before(before) || at.After(time.Now().Add(time.Second)) {
				t.Errorf("row %d: received at %v", i, at)
			}
			if cap(f.Buf) < DefaultSlotSize-slotHeader-32-nic.Headroom {
				t.Errorf("row %d: room for %d bytes only", i, cap(f.Buf))
			}
			if !f.Prepend(nic.Headroom) || !bytes.Equal(f.Buf[nic.Headroom:], sent[i].Buf) {
				t.Errorf("row %d: no room before the frame", i)
			}
			clear(f.Buf[:nic.Headroom])
			i++
		}
	}
	st := near.Stats()
	if st.RxFrames != uint64(len(rows)) || st.RxBytes != 60+61+1514+3*64 || st.RxDropped != 0 || st.RxCut != 0 {
		t.Errorf("receiver counted %+v", st)
	}
	if st := far.Stats(); st.TxFrames != uint64(len(rows)) || st.TxBytes != 60+61+1514+3*64 || st.TxErrors != 0 {
		t.Errorf("sender counted %+v", st)
	}
}

// TestTwoPieces sends frames whose ends lie elsewhere among others.
func TestTwoPieces(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	whole := [][]byte{frame(n.mac("near"), 1, 100).Buf, frame(n.mac("near"), 2, 1000).Buf, frame(n.mac("near"), 3, 60).Buf}
	sendAll(t, far, &nic.Frame{Buf: whole[0][:60], Tail: whole[0][60:]}, &nic.Frame{Buf: whole[1]}, &nic.Frame{Buf: whole[2][:31], Tail: whole[2][31:]})
	if st := far.Stats(); st.TxBytes != 1160 {
		t.Errorf("counted %+v", st)
	}
	var b nic.Batch
	for i := 0; i < len(whole); near.Release() {
		receive(t, near, &b)
		for _, f := range b.Frames[:b.N] {
			if !bytes.Equal(f.Buf, whole[i]) {
				t.Errorf("frame %d: got\n%x, sent\n%x", i, f.Buf, whole[i])
			}
			i++
		}
	}
}

func TestVLANTagComesBesideTheFrame(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	for _, proto := range []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021AD} {
		plain := frame(n.mac("near"), 5, 100)
		tag := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, proto), 0x6123)
		tagged := &nic.Frame{Buf: append(append(append([]byte{}, plain.Buf[:nic.VNetHdrLen+12]...), tag...), plain.Buf[nic.VNetHdrLen+12:]...)}
		sendAll(t, far, tagged, plain)

		var got []nic.Frame
		var b nic.Batch
		for len(got) < 2 {
			receive(t, near, &b)
			got = append(got, b.Frames[:b.N]...)
		}
		if f := &got[0]; f.VLANProto != proto || f.VLAN != 0x6123 || !bytes.Equal(f.Buf, plain.Buf) {
			t.Errorf("tag %#04x/%#04x, want %#04x/0x6123; frame\n%x, want\n%x", f.VLANProto, f.VLAN, proto, f.Buf, plain.Buf)
		}
		if f := &got[1]; f.VLANProto != 0 || f.VLAN != 0 {
			t.Errorf("an untagged frame has tag %#04x/%#04x", f.VLANProto, f.VLAN)
		}
		near.Release()
	}
}

func TestVLANTagIsSentInTheFrame(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	plain := frame(n.mac("near"), 5, 100)
	tagged := &nic.Frame{Buf: plain.Buf, VLAN: 0x6123, VLANProto: unix.ETH_P_8021Q, Tail: []byte("tail")}
	sendAll(t, far, tagged, plain)
	var got []nic.Frame
	var b nic.Batch
	for len(got) < 2 {
		receive(t, near, &b)
		got = append(got, b.Frames[:b.N]...)
	}
	if f := &got[0]; f.VLANProto != unix.ETH_P_8021Q || f.VLAN != 0x6123 || !bytes.Equal(f.Buf, append(bytes.Clone(plain.Buf), "tail"...)) {
		t.Errorf("tag %#04x/%#04x, frame %x", f.VLANProto, f.VLAN, f.Buf)
	}
	if f := &got[1]; f.VLANProto != 0 || !bytes.Equal(f.Buf, plain.Buf) {
		t.Errorf("the next: tag %#04x, frame %x", f.VLANProto, f.Buf)
	}
}

func TestOrderOverManyRoundsOfTheRing(t *testing.T) {
	near, far, n, _ := pair(t, Config{Slots: 16, SlotSize: 2048})
	slots := len(near.ring.at)
	mac := n.mac("near")
	var b nic.Batch
	next := 0
	for send := 0; send < 5*slots; {
		burst := make([]*nic.Frame, 1+send%slots)
		for i := range burst {
			burst[i] = frame(mac, send+i, 60)
		}
		send += len(burst)
		sendAll(t, far, burst...)
		for next < send {
			receive(t, near, &b)
			for i := range b.Frames[:b.N] {
				if got := seq(&b.Frames[i]); got != next {
					t.Fatalf("frame %d came when %d was due", got, next)
				}
				next++
			}
			if next%3 == 0 || next == send {
				near.Release()
			}
		}
	}
	if st := near.Stats(); st.RxDropped != 0 {
		t.Errorf("dropped %d frames", st.RxDropped)
	}
}

func TestFullRingDropsAndCounts(t *testing.T) {
	near, far, n, _ := pair(t, Config{Slots: 16, SlotSize: 2048})
	slots := len(near.ring.at)
	mac := n.mac("near")
	var b nic.Batch
	want := 0
	for round := range 3 {
		const extra = 5
		var burst []*nic.Frame
		for i := range slots + extra {
			burst = append(burst, frame(mac, i, 60))
		}
		sendAll(t, far, burst...)
		want += extra
		for got := 0; got < slots; got += b.N {
			receive(t, near, &b)
		}
		// All slots are held: the kernel's status says so to nobody but us.
		if n, err := near.Recv(&b); n != 0 || err != nil {
			t.Fatalf("round %d: %d more frames, %v", round, n, err)
		}
		near.Release()
		if st := near.Stats(); st.RxDropped != uint64(want) {
			t.Errorf("round %d: %d dropped, want %d", round, st.RxDropped, want)
		}
	}
	check(t, near.Close())
	if st := near.Stats(); st.RxDropped != uint64(want) {
		t.Errorf("after Close: %d dropped, want %d", st.RxDropped, want)
	}
}

// TestOwnFramesDoNotComeBack sends by both ways that a frame can take.
func TestOwnFramesDoNotComeBack(t *testing.T) {
	near, far, n, f := pair(t, Config{})
	for _, bypass := range []bool{true, false} {
		near.tx.setBypass(bypass)
		sendAll(t, near, frame(f.mac("far"), 1, 60), frame(f.mac("far"), 2, 60))
		var b nic.Batch
		for got := 0; got < 2; got += b.N {
			receive(t, far, &b)
			far.Release()
		}
		sendAll(t, far, frame(n.mac("near"), 99, 60))
		receive(t, near, &b)
		if b.N != 1 || seq(&b.Frames[0]) != 99 {
			t.Errorf("bypass %v: %d frames, the first is number %d; want only 99", bypass, b.N, seq(&b.Frames[0]))
		}
		near.Release()
	}
}

func TestFailingFrameDoesNotStopTheOthers(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	mac := n.mac("near")
	nonsense := frame(mac, 3, 200)
	nonsense.VNet()[1] = nic.VNetGSOTCPv4 // with a segment size of 0
	frames := []*nic.Frame{
		frame(mac, 0, 3000), // longer than the MTU
		frame(mac, 1, 60),
		{Buf: nil},
		nonsense,
		frame(mac, 4, 60),
		frame(mac, 5, 3000),
		{Buf: make([]byte, 5)},
	}
	want := []unix.Errno{unix.EMSGSIZE, 0, unix.EINVAL, unix.EINVAL, 0, unix.EMSGSIZE, unix.EINVAL}
	errs := make([]unix.Errno, len(frames)+1)
	errs[len(frames)] = unix.EDOM
	if sent := far.Send(frames, errs); sent != 2 {
		t.Errorf("sent %d frames, want 2", sent)
	}
	for i, w := range want {
		if errs[i] != w {
			t.Errorf("frame %d: %v, want %v", i, errs[i], w)
		}
	}
	if errs[len(frames)] != unix.EDOM {
		t.Error("wrote behind the frames' errors")
	}
	var b nic.Batch
	var got []int
	for len(got) < 2 {
		receive(t, near, &b)
		for i := range b.Frames[:b.N] {
			got = append(got, seq(&b.Frames[i]))
		}
		near.Release()
	}
	if fmt.Sprint(got) != "[1 4]" {
		t.Errorf("frames %v arrived, want 1 and 4", got)
	}
	if st := far.Stats(); st.TxFrames != 2 || st.TxErrors != 5 || st.TxBytes != 120 {
		t.Errorf("counted %+v", st)
	}
}

func TestMoreThanOneBatch(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	const count = 3*nic.MaxBatch + 1
	var frames []*nic.Frame
	for i := range count {
		frames = append(frames, frame(n.mac("near"), i, 60))
	}
	sendAll(t, far, frames...)
	var b nic.Batch
	for got := 0; got < count; {
		receive(t, near, &b)
		for i := range b.Frames[:b.N] {
			if seq(&b.Frames[i]) != got {
				t.Fatalf("frame %d came when %d was due", seq(&b.Frames[i]), got)
			}
			got++
		}
		near.Release()
	}
}

func TestForwardingDoesNotAllocate(t *testing.T) {
	client, director, server := newSpace(t), newSpace(t), newSpace(t)
	wire(t, director, "in", client, "client")
	wire(t, director, "out", server, "server")
	from, to := director.open(Config{Name: "in"}), director.sender("out")
	src, sink := client.open(Config{Name: "client"}), server.open(Config{Name: "server"})

	burst := make([]*nic.Frame, 8)
	for i := range burst {
		burst[i] = frame(director.mac("in"), i, 200)
	}
	var in, out nic.Batch
	frames := make([]*nic.Frame, 0, nic.MaxBatch)
	errs := make([]unix.Errno, nic.MaxBatch)
	total := 0
	allocs := testing.AllocsPerRun(200, func() {
		src.Send(burst, errs)
		for done := 0; done < len(burst); {
			n, err := from.Recv(&in)
			if n == 0 {
				if err != nil || from.Wait(patience) != nil {
					break
				}
				continue
			}
			frames = frames[:0]
			for i := range in.Frames[:n] {
				frames = append(frames, &in.Frames[i])
			}
			to.Send(frames, errs)
			from.Release()
			done += n
		}
		for done := 0; done < len(burst); {
			n, err := sink.Recv(&out)
			if n == 0 && (err != nil || sink.Wait(patience) != nil) {
				break
			}
			sink.Release()
			done += n
			total += n
		}
	})
	if allocs != 0 {
		t.Errorf("%v allocations for a round", allocs)
	}
	if want := 201 * len(burst); total != want {
		t.Errorf("%d frames arrived, want %d", total, want)
	}
}

func TestWaitEnds(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	check(t, near.Wait(0))
	check(t, near.Wait(time.Millisecond))
	check(t, near.Wait(time.Nanosecond))
	var b nic.Batch
	if n, err := near.Recv(&b); n != 0 || err != nil || b.N != 0 {
		t.Fatalf("received %d frames from a silent wire, %v", n, err)
	}

	sendAll(t, far, frame(n.mac("near"), 1, 60))
	if err := near.Wait(-1); err != nil {
		t.Fatal(err)
	}
	receive(t, near, &b)
}

// watch receives until the device answers an error for good.
func watch(d *Device) <-chan error {
	errs := make(chan error, 100)
	go func() {
		defer close(errs)
		var b nic.Batch
		for {
			if n, err := d.Recv(&b); err != nil {
				errs <- fmt.Errorf("Recv: %w", err)
				return
			} else if n > 0 {
				d.Release()
			} else if err := d.Wait(-1); err != nil {
				errs <- err
			}
		}
	}()
	return errs
}

// expect takes the next error of watch.
func expect(t *testing.T, errs <-chan error, want error) {
	t.Helper()
	select {
	case err := <-errs:
		if !errors.Is(err, want) {
			t.Errorf("got error %v, want %v", err, want)
		}
	case <-time.After(patience):
		t.Fatalf("no error, want %v", want)
	}
}

func TestInterfaceRemoved(t *testing.T) {
	near, _, n, f := pair(t, Config{})
	to := n.sender("near")
	errs := watch(near)
	check(t, f.nl.LinkDel(f.link("far")))

	// The removal begins with taking it down; Wait may see either first.
	var last error
	for end := time.After(patience); ; {
		select {
		case err, more := <-errs:
			if more {
				last = err
				continue
			}
		case <-end:
			t.Fatal("still waiting")
		}
		break
	}
	if !errors.Is(last, unix.ENODEV) || !strings.Contains(last.Error(), "near") {
		t.Errorf("ended with %v", last)
	}

	frames := []*nic.Frame{frame(make([]byte, 6), 1, 60), frame(make([]byte, 6), 2, 60)}
	answer := make([]unix.Errno, 2)
	for name, s := range map[string]nic.Sender{"device": near, "sender": to} {
		if sent := s.Send(frames, answer); sent != 0 || answer[0] != unix.ENXIO || answer[1] != unix.ENXIO {
			t.Errorf("%s: sent %d frames to nowhere: %v", name, sent, answer)
		}
	}
}

func TestInterfaceDownAndUp(t *testing.T) {
	near, far, n, f := pair(t, Config{})
	link := n.link("near")
	for range 2 {
		errs := make(chan error, 1)
		go func() { errs <- near.Wait(-1) }()
		check(t, n.nl.LinkSetDown(link))
		expect(t, errs, unix.ENETDOWN)
		// Told once; after that Wait blocks, but looks from time to time.
		check(t, near.Wait(time.Millisecond))
		check(t, near.Wait(-1))

		answer := make([]unix.Errno, 3)
		fr := frame(f.mac("far"), 1, 60)
		if sent := near.Send([]*nic.Frame{fr, fr, fr}, answer); sent != 0 || answer[0] != unix.ENETDOWN || answer[2] != unix.ENETDOWN {
			t.Errorf("sent %d frames: %v", sent, answer)
		}

		check(t, n.nl.LinkSetUp(link))
		var b nic.Batch
		sendAll(t, far, frame(n.mac("near"), 8, 60))
		receive(t, near, &b)
		near.Release()
		if near.Wait(0) != nil || near.down {
			t.Error("still taken for down")
		}
	}
}

func TestOpenWhileDown(t *testing.T) {
	n, f := newSpace(t), newSpace(t)
	wire(t, n, "near", f, "far")
	check(t, n.nl.LinkSetDown(n.link("near")))
	d := n.open(Config{Name: "near"})
	if err := d.Wait(-1); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("waited: %v", err)
	}
	check(t, n.nl.LinkSetUp(n.link("near")))
	sendAll(t, f.sender("far"), frame(n.mac("near"), 1, 60))
	var b nic.Batch
	receive(t, d, &b)
}

func TestClosed(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	sendAll(t, far, frame(n.mac("near"), 1, 60))
	check(t, near.Close())
	check(t, near.Close())
	check(t, near.tx.ring.close())
	var b nic.Batch
	if _, err := near.Recv(&b); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Recv: %v", err)
	}
	if err := near.Wait(-1); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Wait: %v", err)
	}
	near.Release()
	errs := make([]unix.Errno, 1)
	if sent := near.Send([]*nic.Frame{frame(make([]byte, 6), 1, 60)}, errs); sent != 0 || errs[0] != unix.EBADF {
		t.Errorf("sent %d: %v", sent, errs)
	}
	near.Stats()
}

// TestPollerDoesNotWatch looks into every epoll instance of this process for
// the device's sockets.
func TestPollerDoesNotWatch(t *testing.T) {
	near, _, _, _ := pair(t, Config{})
	files, err := os.ReadDir("/proc/self/fdinfo")
	check(t, err)
	epolls := 0
	for _, e := range files {
		info, err := os.ReadFile("/proc/self/fdinfo/" + e.Name())
		if err != nil || !bytes.Contains(info, []byte("tfd:")) {
			continue
		}
		epolls++
		for _, fd := range []int{near.fd, near.tx.fd, near.tx.ring.fd} {
			var st unix.Stat_t
			check(t, unix.Fstat(fd, &st))
			if bytes.Contains(info, fmt.Appendf(nil, " ino:%x ", st.Ino)) {
				t.Errorf("the runtime polls socket %d:\n%s", fd, info)
			}
		}
	}
	if epolls == 0 {
		t.Skip("this kernel does not show what epoll watches")
	}
}

func TestOpenErrors(t *testing.T) {
	s := newSpace(t)
	peer := newSpace(t)
	wire(t, s, "a", peer, "b")
	tests := []struct {
		name string
		cfg  Config
		want string
	}{
		{"no such name", Config{Name: "nowhere"}, `interface "nowhere"`},
		{"no such index", Config{Index: 4711}, "interface number 4711"},
		{"nothing given", Config{}, "interface number 0"},
		{"tiny slots", Config{Name: "a", SlotSize: 100}, "a slot takes at least 512 bytes"},
		{"negative slots", Config{Name: "a", Slots: -1}, "a receive ring of -1 slots"},
		{"huge ring", Config{Name: "a", Slots: 1 << 20}, "the ring at most 1073741824"},
		{"huge slots", Config{Name: "a", Slots: 1, SlotSize: 1 << 31}, "the ring at most 1073741824"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			var err error
			s.do(func() { _, err = Open(tc.cfg) })
			if err == nil || !strings.HasPrefix(err.Error(), "afpacket: ") || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got error %v, want %q in it", err, tc.want)
			}
		})
	}
	var err error
	s.do(func() { _, err = OpenSender(4711) })
	if err == nil || !strings.Contains(err.Error(), "interface number 4711") {
		t.Errorf("OpenSender: %v", err)
	}
}

func TestWithoutPrivilege(t *testing.T) {
	s := newSpace(t)
	var errOpen, errSender, errDrop error
	s.do(func() {
		// Only this thread loses them, and it ends with this function.
		hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var none [2]unix.CapUserData
		if errDrop = unix.Capset(&hdr, &none[0]); errDrop == nil {
			_, errOpen = Open(Config{Name: "lo"})
			_, errSender = OpenSender(1)
		}
	})
	check(t, errDrop)
	for _, err := range []error{errOpen, errSender} {
		if !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
			t.Errorf("got error %v, want one that names CAP_NET_RAW", err)
		}
	}
}
