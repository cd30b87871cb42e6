package nic_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"vsnat/nic"
)

func taggedFrame(partial bool) nic.Frame {
	buf := make([]byte, nic.VNetHdrLen, 100)
	if partial {
		buf[0], buf[1] = nic.VNetNeedsCsum, nic.VNetGSOTCPv4
		binary.NativeEndian.PutUint16(buf[2:], 58)
		binary.NativeEndian.PutUint16(buf[6:], 38)
	}
	buf = append(buf, "ddddddssssss\x81\x00\x60\x0a\x08\x00payload"...)
	f := nic.Frame{WireLen: len(buf) - nic.VNetHdrLen}
	mem := make([]byte, 200)
	copy(mem[20:], buf)
	f.Place(mem, 20, 20+len(buf))
	return f
}

func TestTagComesAndGoes(t *testing.T) {
	for _, partial := range []bool{false, true} {
		f := taggedFrame(partial)
		before := bytes.Clone(f.Buf)
		if !f.TakeTag() || f.TakeTag() {
			t.Fatal("the tag was not taken once")
		}
		if f.VLAN != 0x600a || f.VLANProto != 0x8100 || string(f.Eth()) != "ddddddssssss\x08\x00payload" || f.Cut() {
			t.Errorf("tag %#x of %#x, frame %q", f.VLAN, f.VLANProto, f.Eth())
		}
		if partial && (f.VNet().CsumStart() != 34 || f.VNet().HdrLen() != 54) {
			t.Errorf("virtio header %x", f.VNet())
		}
		f.Tail = []byte("tail")
		taken := bytes.Clone(f.Buf)
		room := make([]byte, 200)
		if n := f.Copy(room); string(room[:n]) != string(before)+"tail" || !bytes.Equal(f.Buf, taken) {
			t.Errorf("copied as %q, and is %q", room[:n], f.Buf)
		}
		f.Segments = [][]byte{[]byte("one"), []byte("and another")}
		if f.Len() != len(before)-nic.VNetHdrLen+4+14 {
			t.Errorf("length %d", f.Len())
		}
		var tag [4]byte
		var back []byte
		for _, p := range f.Parts(&tag) {
			back = append(back, p...)
		}
		if !bytes.Equal(back, append(before, "tail"...)) {
			t.Errorf("came back as %q", back)
		}
		if !f.Prepend(8) {
			t.Error("the room before the frame was lost")
		}
	}
}

func TestNoTag(t *testing.T) {
	for _, s := range []string{"", "ddddddssssss\x08\x00payload", "ddddddssssss\x81\x00\x00\x05\x08"} {
		f := nic.Frame{Buf: append(make([]byte, nic.VNetHdrLen), s...)}
		if f.TakeTag() || f.VLANProto != 0 || string(f.Eth()) != s {
			t.Errorf("%q: became %q", s, f.Eth())
		}
		room := make([]byte, 200)
		f.Tail = []byte("tail")
		if n := f.Copy(room); string(room[nic.VNetHdrLen:n]) != s+"tail" {
			t.Errorf("%q: copied as %q", s, room[:n])
		}
	}
}
