package afpacket

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// merged is a frame of n TCP segments of 1000 bytes, and all of its bytes.
func merged(dst []byte, n int) (f *nic.Frame, all []byte) {
	const head = 14 + 20 + 20
	f = &nic.Frame{Buf: make([]byte, nic.VNetHdrLen+head)}
	eth := f.Eth()
	copy(eth, dst)
	copy(eth[12:], []byte{8, 0, 0x45, 0, byte((head - 14 + 1000*n) >> 8), byte((head - 14 + 1000*n) & 0xff), 0, 0, 0x40, 0, 64, 6})
	eth[34+12] = 5 << 4
	f.VNet().Segment(false, head, 34, 1000)
	all = bytes.Clone(f.Buf)
	for i := range n {
		p := bytes.Repeat([]byte{byte(i)}, 1000)
		f.Segments = append(f.Segments, p)
		all = append(all, p...)
	}
	return f, all
}

// TestMergedFrames has them arrive as one super-frame, with a tag beside it and
// without, among others.
func TestMergedFrames(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	mac := n.mac("near")
	a, wantA := merged(mac, 3)
	b, wantB := merged(mac, nic.MaxBatch)
	b.VLAN, b.VLANProto = 0x6123, unix.ETH_P_8021Q
	plain := frame(mac, 1, 60)
	for range 2 { // messages are used again
		sendAll(t, far, bytesOf(a), bytesOf(b), plain)
		sendAll(t, far, plain)
		sendAll(t, far, plain, bytesOf(b), bytesOf(a))
		var got []nic.Frame
		var batch nic.Batch
		for len(got) < 7 {
			receive(t, near, &batch)
			for _, f := range batch.Frames[:batch.N] {
				f.Buf = bytes.Clone(f.Buf)
				got = append(got, f)
			}
			near.Release()
		}
		for i, want := range [][]byte{wantA, wantB, plain.Buf, plain.Buf, plain.Buf, wantB, wantA} {
			f := &got[i]
			if f.VLANProto != 0 != (i == 1 || i == 5) || !bytes.Equal(f.Eth(), want[nic.VNetHdrLen:]) || f.VNet().GSOType() != want[1] || f.VNet().GSOSize() != nic.VNet(want).GSOSize() {
				t.Errorf("frame %d: tag %#x, %d bytes of %d, header %x, want %x", i, f.VLANProto, len(f.Buf), len(want), f.VNet(), want[:nic.VNetHdrLen])
			}
		}
	}
	if st := far.Stats(); st.TxFrames != 14 || st.TxMerged != 4*(2+nic.MaxBatch-1) || st.TxErrors != 0 {
		t.Errorf("counted %+v", st)
	}
}

// bytesOf returns a copy of a frame, whose header is changed when it is sent.
func bytesOf(f *nic.Frame) *nic.Frame {
	o := *f
	o.Buf = bytes.Clone(f.Buf)
	return &o
}

// TestManyPieces has more of them in one batch than there is room for at first.
func TestManyPieces(t *testing.T) {
	near, far, n, _ := pair(t, Config{})
	var frames []*nic.Frame
	var want [][]byte
	for range 3 * mergedPieces / nic.MaxBatch {
		f, all := merged(n.mac("near"), nic.MaxBatch)
		frames, want = append(frames, f), append(want, all)
	}
	sendAll(t, far, frames...)
	var b nic.Batch
	for at := 0; at < len(want); {
		receive(t, near, &b)
		for _, f := range b.Frames[:b.N] {
			if !bytes.Equal(f.Eth(), want[at][nic.VNetHdrLen:]) {
				t.Errorf("frame %d has %d bytes and is not what was sent", at, len(f.Buf))
			}
			at++
		}
		near.Release()
	}
}
