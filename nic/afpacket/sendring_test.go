package afpacket

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// numbers takes frames until the one with that number came, and returns those of all.
func numbers(t *testing.T, d *Device, last int) (got []int) {
	t.Helper()
	var b nic.Batch
	for len(got) == 0 || got[len(got)-1] != last {
		receive(t, d, &b)
		for i := range b.Frames[:b.N] {
			got = append(got, seq(&b.Frames[i]))
		}
		d.Release()
	}
	return got
}

// row returns frames of n bytes with the numbers from first to end, without the latter.
func row(dst net.HardwareAddr, first, end, n int) (frames []*nic.Frame) {
	for i := first; i < end; i++ {
		frames = append(frames, frame(dst, i, n))
	}
	return frames
}

// expectRow takes frames that must have the numbers from first to end, without the
// latter, in order.
func expectRow(t *testing.T, d *Device, first, end int) {
	t.Helper()
	for i, n := range numbers(t, d, end-1) {
		if n != first+i {
			t.Fatalf("frame %d came when %d was due", n, first+i)
		}
	}
}

// tcp makes the frame an IPv4 packet with TCP and a partial checksum.
func tcp(f *nic.Frame) *nic.Frame {
	eth := f.Eth()
	binary.BigEndian.PutUint16(eth[12:], unix.ETH_P_IP)
	ip := eth[ethernet:]
	copy(ip, []byte{0x45, 0, byte(len(ip) >> 8), byte(len(ip)), 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2})
	ip[20+12], ip[20+13] = 5<<4, 0x10
	f.VNet().Segment(false, 54, 34, 1400)
	f.VNet().Whole()
	return f
}

// anyFrame returns a frame of some kind for a link with that MTU, and what is to
// arrive.
func anyFrame(rnd *rand.Rand, dst net.HardwareAddr, mtu int) (f, want *nic.Frame) {
	n := shortest - 8 + rnd.IntN(200)
	switch rnd.IntN(4) {
	case 0:
		n = ethernet + mtu - rnd.IntN(8)
	case 1:
		n = 60 + rnd.IntN(mtu-60)
	}
	whole := frame(dst, 0, n)
	for i, eth := ethernet, whole.Eth(); i < n; i++ {
		eth[i] = byte(rnd.Uint32())
	}
	if n > 70 && rnd.IntN(3) == 0 {
		tcp(whole)
	}
	if rnd.IntN(20) == 0 {
		whole = tcp(frame(dst, 0, ethernet+mtu+1+rnd.IntN(40000)))
		whole.VNet().Segment(false, 54, 34, 1400)
	}
	if len(whole.Eth()) > shortest && rnd.IntN(4) == 0 {
		whole.VLAN, whole.VLANProto = uint16(rnd.IntN(1<<16)), unix.ETH_P_8021Q
	}
	sent := &nic.Frame{Buf: bytes.Clone(whole.Buf), VLAN: whole.VLAN, VLANProto: whole.VLANProto}
	if n := len(sent.Buf); n > 100 && rnd.IntN(4) == 0 {
		cut := 70 + rnd.IntN(n-70)
		sent.Buf, sent.Tail = sent.Buf[:cut], bytes.Clone(sent.Buf[cut:])
	}
	return sent, whole
}

// TestAnyBatchArrives sends batches of all kinds of frames, some of which go by the
// ring and some not.
func TestAnyBatchArrives(t *testing.T) {
	for _, mtu := range []int{1500, 9000} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) {
			n, f := newSpace(t), newSpace(t)
			wire(t, n, "near", f, "far")
			check(t, n.nl.LinkSetMTU(n.link("near"), mtu))
			check(t, f.nl.LinkSetMTU(f.link("far"), mtu))
			near, tx := n.open(Config{Name: "near"}), f.sender("far")
			mac := n.mac("near")
			rnd := rand.New(rand.NewPCG(1, uint64(mtu)))
			var ring, other int
			var b nic.Batch
			for range 1000 {
				var frames, want []*nic.Frame
				for range 1 + rnd.IntN(1+rnd.IntN(12)) {
					s, w := anyFrame(rnd, mac, mtu)
					frames, want = append(frames, s), append(want, w)
				}
				before := tx.ring.next
				sendAll(t, tx, frames...)
				if tx.ring.next != before {
					ring++
				} else {
					other++
				}
				for len(want) > 0 {
					receive(t, near, &b)
					for i := range b.Frames[:b.N] {
						if got := &b.Frames[i]; len(want) == 0 || !same(got, want[0]) || got.VLANProto != want[0].VLANProto || got.VLAN != want[0].VLAN || got.Cut() {
							t.Fatalf("got %+v, tag %#x/%#x\n%x; %d are due:\n%+v", got.VNet(), got.VLANProto, got.VLAN, got.Eth(), len(want), want)
						}
						want = want[1:]
					}
					near.Release()
				}
			}
			if ring < 100 || other < 100 {
				t.Errorf("%d batches by the ring, %d not: want many of both", ring, other)
			}
		})
	}
}

// TestRefusedFrameInTheRing has the kernel refuse frames that it has to look at.
func TestRefusedFrameInTheRing(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	mac := n.mac("near")
	for round := range 3 * sendSlots / nic.MaxBatch { // more than once around
		frames := row(mac, 0, nic.MaxBatch, 60)
		want := make([]unix.Errno, len(frames))
		for _, i := range []int{0, 1, 30, len(frames) - 1}[round%4:] {
			v := frames[i].VNet()
			v[0] = nic.VNetNeedsCsum
			binary.NativeEndian.PutUint16(v[6:], 100) // behind the frame
			want[i] = unix.EINVAL
		}
		frames = append(frames, frame(mac, nic.MaxBatch, 60))
		want = append(want, 0)
		if !far.tx.ring.fits(frames) {
			t.Fatal("the frames do not fit into the ring")
		}
		errs := make([]unix.Errno, len(frames))
		far.Send(frames, errs)
		var due []int
		for i, w := range want {
			if errs[i] != w {
				t.Errorf("frame %d: %v, want %v", i, errs[i], w)
			}
			if w == 0 {
				due = append(due, i)
			}
		}
		if got := numbers(t, near, nic.MaxBatch); fmt.Sprint(got) != fmt.Sprint(due) {
			t.Errorf("came %v, want %v", got, due)
		}
	}
}

// TestFullSendRing has a slot in use, as by a driver that has not sent its frame yet.
func TestFullSendRing(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	mac, r := n.mac("near"), &far.tx.ring
	sent := 0
	for i := range 3 * len(r.at) {
		busy := (r.next + i%10) % len(r.at)
		storeStatus(r.slot(busy), unix.TP_STATUS_SENDING)
		sendAll(t, far, row(mac, sent, sent+20, 100)...)
		if r.next != busy {
			t.Fatalf("the next slot is %d, and %d is in use", r.next, busy)
		}
		expectRow(t, near, sent, sent+20)
		sent += 20
		storeStatus(r.slot(busy), unix.TP_STATUS_AVAILABLE)
	}
	if st := far.Stats(); st.TxErrors != 0 || st.TxFrames != uint64(sent) {
		t.Errorf("sent %d, counted %+v", sent, st)
	}
}

// TestMTUChanges has frames be too long for the interface that the ring would send.
func TestMTUChanges(t *testing.T) {
	_, far, n, f := pair(t, Config{})
	mac, tx := n.mac("near"), far.tx
	var errs [1]unix.Errno
	long := frame(mac, 1, ethernet+1400)
	sendAll(t, far, long)
	check(t, f.nl.LinkSetMTU(f.link("far"), 1300))
	for range mtuEvery {
		tx.Send([]*nic.Frame{frame(mac, 2, 60)}, errs[:])
	}
	if tx.Send([]*nic.Frame{long}, errs[:]); errs[0] != unix.EMSGSIZE {
		t.Errorf("longer than the MTU by now: %v", errs[0])
	}
	short := f.sender("far")
	if short.Send([]*nic.Frame{long}, errs[:]); errs[0] != unix.EMSGSIZE {
		t.Errorf("longer than the MTU from the beginning: %v", errs[0])
	}
	check(t, f.nl.LinkSetMTU(f.link("far"), 1500))
	sendAll(t, tx, long)
	for range mtuEvery {
		tx.Send([]*nic.Frame{frame(mac, 3, 60)}, errs[:])
	}
	before := tx.ring.next
	sendAll(t, tx, long)
	if tx.ring.next == before {
		t.Error("the ring takes no frame of the larger MTU")
	}
}

// TestInterfaceGoesWhileSending takes the interface down again and again, and in the
// end away, while frames of all lengths are sent. What arrives is in order, nothing
// twice, and nothing that was not sent.
func TestInterfaceGoesWhileSending(t *testing.T) {
	n, f := newSpace(t), newSpace(t)
	wire(t, n, "near", f, "far")
	near, tx := n.open(Config{Name: "near"}), f.sender("far")
	mac := n.mac("near")
	link := f.link("far")

	const batches = 4000
	ok := make([]bool, batches*nic.MaxBatch)
	var last unix.Errno
	end := make(chan struct{})
	var sender sync.WaitGroup
	sender.Go(func() {
		defer close(end)
		rnd := rand.New(rand.NewPCG(1, 1))
		errs := make([]unix.Errno, nic.MaxBatch)
		for next := 0; next < len(ok) && last != unix.ENXIO; {
			k := 1 + rnd.IntN(16)
			frames := row(mac, next, min(next+k, len(ok)), 60+rnd.IntN(1500))
			tx.Send(frames, errs)
			for i := range frames {
				switch errs[i] {
				case 0:
					ok[next+i] = true
				case unix.ENETDOWN, unix.ENXIO, unix.ENOBUFS, unix.EMSGSIZE:
				default:
					t.Errorf("frame %d: %v", next+i, errs[i])
				}
				last = errs[i]
			}
			next += len(frames)
			runtime.Gosched()
		}
	})
	var got []int
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b nic.Batch
		for quiet := false; ; {
			if k, _ := near.Recv(&b); k > 0 {
				for i := range b.Frames[:k] {
					got = append(got, seq(&b.Frames[i]))
				}
				near.Release()
				continue
			}
			if quiet {
				return
			}
			_ = near.Wait(time.Millisecond)
			select {
			case <-end:
				quiet = true
			default:
			}
		}
	}()
	for range 10 {
		time.Sleep(5 * time.Millisecond)
		check(t, f.nl.LinkSetDown(link))
		time.Sleep(2 * time.Millisecond)
		check(t, f.nl.LinkSetUp(link))
	}
	check(t, f.nl.LinkDel(link))
	sender.Wait()
	<-done
	for i, k := range got {
		if !ok[k] {
			t.Fatalf("frame %d came and was not sent", k)
		}
		if i > 0 && k <= got[i-1] {
			t.Fatalf("frame %d came after %d", k, got[i-1])
		}
	}
	if len(got) == 0 {
		t.Error("no frame came")
	}
	if last != unix.ENXIO {
		t.Errorf("the last frame: %v", last)
	}
}

// BenchmarkSend sends frames of 60 bytes by either way, over a virtual link whose
// other end takes them for others' and drops them.
func BenchmarkSend(b *testing.B) {
	n, f := newSpace(b), newSpace(b)
	wire(b, n, "near", f, "far")
	for _, way := range []string{"ring", "messages"} {
		for _, size := range []int{1, 8, nic.MaxBatch} {
			b.Run(fmt.Sprintf("%s/%d", way, size), func(b *testing.B) {
				tx := n.sender("near")
				if way == "messages" {
					check(b, tx.ring.close())
				}
				frames := row(net.HardwareAddr{2, 0, 0, 0, 0, 77}, 0, size, 60)
				errs := make([]unix.Errno, size)
				b.ResetTimer()
				for sent := 0; sent < b.N; sent += size {
					if tx.Send(frames, errs) != size {
						b.Fatal(errs)
					}
				}
			})
		}
	}
}
