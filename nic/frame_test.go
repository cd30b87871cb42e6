package nic

import (
	"bytes"
	"testing"
)

func TestPrepend(t *testing.T) {
	mem := []byte("headroom the frame and more")
	placed := func() (f Frame) {
		f.Place(mem, 9, 18)
		return f
	}
	f := placed()
	if string(f.Buf) != "the frame" || f.Prepend(10) || string(f.Buf) != "the frame" {
		t.Errorf("Buf %q", f.Buf)
	}
	if !f.Prepend(4) || !f.Prepend(5) || string(f.Buf) != "headroom the frame" || f.Prepend(1) {
		t.Errorf("Buf %q", f.Buf)
	}
	// It may have grown at its end, or become shorter.
	f = placed()
	f.Buf = f.Buf[:13]
	if !f.Prepend(9) || string(f.Buf) != "headroom the frame and" {
		t.Errorf("grown: Buf %q", f.Buf)
	}
	// A frame with other memory has no room that is known of.
	f = placed()
	f.Buf = bytes.Clone(f.Buf)
	if f.Prepend(1) || string(f.Buf) != "the frame" {
		t.Errorf("moved: Buf %q", f.Buf)
	}
	f = placed()
	f.Buf = f.Buf[1:]
	if f.Prepend(1) {
		t.Error("cut at its front: room")
	}
	f = Frame{Buf: mem}
	if f.Prepend(1) {
		t.Error("not placed: room")
	}
}
