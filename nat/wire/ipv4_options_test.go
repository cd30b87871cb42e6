package wire

import (
	"bytes"
	"testing"
)

// header returns an IPv4 header with these options, which are a multiple of 4
// bytes.
func header(options ...byte) IPv4 {
	b := append(make(IPv4, IPv4MinLen), options...)
	b[0] = 4<<4 | byte(len(b)/4)
	return b
}

func TestClearFirstOptions(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"none", "", ""},
		{"record route", "\x07\x07\x04\x0a\x00\x00\x01\x00", "\x01\x01\x01\x01\x01\x01\x01\x00"},
		{"loose source route stays", "\x83\x07\x04\x0a\x00\x00\x01\x00", "\x83\x07\x04\x0a\x00\x00\x01\x00"},
		{"behind a no-operation", "\x01\x07\x03\x04", "\x01\x01\x01\x01"},
		{"behind the end", "\x00\x07\x03\x04", "\x00\x07\x03\x04"},
		{"longer than the header", "\x07\x09\x04\x00", "\x07\x09\x04\x00"},
		{"shorter than itself", "\x07\x01\x04\x00", "\x07\x01\x04\x00"},
		{"cut short", "\x01\x01\x01\x07", "\x01\x01\x01\x07"},
	} {
		b := header([]byte(c.in)...)
		b.ClearFirstOptions()
		if got := []byte(b[IPv4MinLen:]); !bytes.Equal(got, []byte(c.want)) {
			t.Errorf("%s: % x, want % x", c.name, got, c.want)
		}
	}
}

func TestSetFragment(t *testing.T) {
	b := header()
	b.Encode(&IPv4Fields{TotalLen: 1000, Flags: IPv4DontFragment, TTL: 9, Protocol: ProtoUDP})
	b.SetFragment(600, 1480, true)
	if b.TotalLen() != 600 || b.FragmentOffset() != 1480 || !b.MoreFragments() || b.DontFragment() || !b.ChecksumOK() {
		t.Errorf("% x", []byte(b))
	}
	b.SetFragment(20, 0, false)
	if b.TotalLen() != 20 || b.Fragment() || !b.ChecksumOK() {
		t.Errorf("% x", []byte(b))
	}
}
