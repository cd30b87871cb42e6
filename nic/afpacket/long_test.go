package afpacket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// superFrame builds a TCP super-frame of n bytes.
func superFrame(dst net.HardwareAddr, seq, n int) *nic.Frame {
	const l4, head = 14 + 20, 14 + 20 + 20
	f := frame(dst, 0, n)
	eth := f.Eth()
	binary.BigEndian.PutUint16(eth[12:], unix.ETH_P_IP)
	ip := eth[14:]
	clear(ip[:40])
	ip[0], ip[8], ip[9] = 0x45, 64, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	copy(ip[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	binary.BigEndian.PutUint32(ip[20+4:], uint32(seq))
	ip[20+12] = 5 << 4 // header length
	f.VNet().Segment(false, head, l4, 1460)
	return f
}

// same reports whether a frame came as it was sent. How much of a super-frame was
// in one piece (hdr_len) is the kernel's matter.
func same(got, sent *nic.Frame) bool {
	a, b := got.VNet(), sent.VNet()
	return bytes.Equal(a[:2], b[:2]) && bytes.Equal(a[4:], b[4:]) && bytes.Equal(got.Eth(), sent.Eth())
}

// TestLongFrames has frames that are longer than a slot come among others, more of
// them than are received together, and looks at them before they are released and
// after others came.
func TestLongFrames(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	mac := n.mac("near")
	var sent []*nic.Frame
	for i := range 3 * maxLong {
		sent = append(sent, superFrame(mac, i, 65000-i), frame(mac, i, 60+i))
		if i%5 == 0 {
			sent = append(sent, frame(mac, i, 61), superFrame(mac, i, 3000+i))
		}
	}
	for from := 0; from < len(sent); {
		n := min(len(sent)-from, nic.MaxBatch)
		sendAll(t, far, sent[from:from+n]...)
		from += n
	}

	var one, two nic.Batch
	for i := 0; i < len(sent); near.Release() {
		receive(t, near, &one)
		if _, err := near.Recv(&two); err != nil {
			t.Fatal(err)
		}
		for _, f := range append(append([]nic.Frame{}, one.Frames[:one.N]...), two.Frames[:two.N]...) {
			if !same(&f, sent[i]) || f.Cut() || f.WireLen != len(sent[i].Eth()) || f.Type != nic.ToHost || f.Time == 0 {
				t.Fatalf("frame %d: %d bytes of %d, type %d, as it was sent: %v", i, len(f.Eth()), f.WireLen, f.Type, same(&f, sent[i]))
			}
			if len(f.Eth()) > 3000 && (cap(f.Buf) < len(f.Buf)+1000 || !f.Prepend(nic.Headroom)) {
				t.Errorf("frame %d: no room around it", i)
			}
			i++
		}
	}
	if st := near.Stats(); st.RxFrames != uint64(len(sent)) || st.RxCut != 0 || st.RxDropped != 0 {
		t.Errorf("counted %+v", st)
	}
}

// TestCutFrame leaves no room for long frames but the first: the others are cut, and
// those that come later are whole again.
func TestCutFrame(t *testing.T) {
	near, far, n, _ := pair(t, Config{SlotSize: minSlotSize})
	check(t, unix.SetsockoptInt(near.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 0)) // the least there is
	for range 3 {
		var sent []*nic.Frame
		for i := range 3 {
			sent = append(sent, superFrame(n.mac("near"), i, 60000+i))
		}
		sendAll(t, far, sent...)
		var b nic.Batch
		for i := 0; i < len(sent); near.Release() {
			receive(t, near, &b)
			for _, f := range b.Frames[:b.N] {
				switch {
				case i == 0:
					if !same(&f, sent[0]) || f.Cut() {
						t.Errorf("the first: %d bytes of %d", len(f.Eth()), f.WireLen)
					}
				case !f.Cut() || f.WireLen != 60000+i || len(f.Eth()) < 300 || !bytes.HasPrefix(sent[i].Eth(), f.Eth()):
					t.Errorf("number %d: cut %v, %d bytes of %d", i, f.Cut(), len(f.Eth()), f.WireLen)
				}
				i++
			}
		}
	}
	if st := near.Stats(); st.RxCut != 6 || st.RxFrames != 9 {
		t.Errorf("counted %+v", st)
	}
}

// TestLongFrameWhileDown has a long frame wait when the interface goes down: the
// kernel tells whoever fetches it, and nobody else.
func TestLongFrameWhileDown(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	sent := superFrame(n.mac("near"), 1, 50000)
	sendAll(t, far, sent)
	check(t, n.nl.LinkSetDown(n.link("near")))
	var b nic.Batch
	receive(t, near, &b)
	if !same(&b.Frames[0], sent) {
		t.Errorf("%d bytes of %d", len(b.Frames[0].Eth()), b.Frames[0].WireLen)
	}
	near.Release()
	if err := near.Wait(-1); !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("waited: %v", err)
	}
	check(t, near.Wait(0))
	check(t, n.nl.LinkSetUp(n.link("near")))
	sendAll(t, far, sent)
	receive(t, near, &b)
	if near.Release(); near.Wait(0) != nil || near.down {
		t.Error("still taken for down")
	}
}

// TestFetchOfNothing expects a long frame that the queue does not have: it stays as
// the slot has it.
func TestFetchOfNothing(t *testing.T) {
	near, _, _, _ := pair(t, Config{})
	f := nic.Frame{Buf: make([]byte, 100), WireLen: 5000}
	if !near.long.expect(&f) || near.long.fetch(near.fd) != 0 || near.long.waiting() || !f.Cut() {
		t.Errorf("a frame of %d bytes of %d, waiting: %v", len(f.Eth()), f.WireLen, near.long.waiting())
	}
}
