package wire

import (
	"encoding/binary"
	"testing"
)

func TestSumAgainstNaive(t *testing.T) {
	r := rng(t)
	buf := make([]byte, 2048+8)
	for i := range 100_000 {
		n := r.IntN(160)
		if i%100 == 0 {
			n = r.IntN(2049)
		}
		for j := range n + 8 {
			buf[j] = byte(r.Uint32())
		}
		if i%7 == 0 { // carries everywhere
			for j := range buf[:n+8] {
				buf[j] |= 0xfe
			}
		}
		for at := range 8 {
			b := buf[at : at+n]
			want := naiveSum(b)
			got := Fold(Sum(b, 0))
			if got != want {
				t.Fatalf("%d bytes at %d: sum %#04x, want %#04x: %x", n, at, got, want, b)
			}
		}
	}
}

func TestSumOfConstantBytes(t *testing.T) {
	for _, v := range []byte{0x00, 0x01, 0x7f, 0x80, 0xff} {
		b := make([]byte, 300)
		for i := range b {
			b[i] = v
		}
		for n := range len(b) + 1 {
			got, want := Fold(Sum(b[:n], 0)), naiveSum(b[:n])
			if got != want {
				t.Fatalf("%d bytes of %#02x: sum %#04x, want %#04x", n, v, got, want)
			}
		}
	}
}

func TestSumInPieces(t *testing.T) {
	r := rng(t)
	for range 10_000 {
		b := randBytes(r, r.IntN(300))
		cut := r.IntN(len(b)/2+1) * 2
		got := Fold(Sum(b[cut:], Sum(b[:cut], 0)))
		if want := Fold(Sum(b, 0)); got != want {
			t.Fatalf("cut at %d of %d: %#04x, want %#04x", cut, len(b), got, want)
		}
	}
}

func TestSumAddsInitial(t *testing.T) {
	if got := Sum([]byte{0x12, 0x34, 0x56}, 0xffff_0000_0000); got != 0xffff_0000_0000+0x1234+0x5600 {
		t.Errorf("sum is %#x", got)
	}
	if got := Sum(nil, 7); got != 7 {
		t.Errorf("sum of nothing is %d, want the initial 7", got)
	}
}

func TestFold(t *testing.T) {
	for _, tt := range []struct {
		sum  uint64
		want uint16
	}{
		{0, 0},
		{1, 1},
		{0xffff, 0xffff},
		{0x10000, 1},
		{0x1ffff, 1},
		{0xffffffff, 0xffff},
		{0x1_0000_0000, 1},
		{0xffff_ffff_ffff_ffff, 0xffff},
		{0xffff_ffff_ffff_fffe, 0xfffe},
		{0x8000_0000_0000_0000, 0x8000},
		{0xffff_0000_ffff_0000, 0xffff},
		{0x0001_ffff_fffe_0001, 1},
	} {
		if got := Fold(tt.sum); got != tt.want {
			t.Errorf("Fold(%#x) = %#04x, want %#04x", tt.sum, got, tt.want)
		}
	}
	r := rng(t)
	for range 100_000 {
		sum := r.Uint64() >> r.IntN(64)
		want := uint16(sum % 0xffff)
		if want == 0 && sum != 0 {
			want = 0xffff
		}
		if got := Fold(sum); got != want {
			t.Fatalf("Fold(%#x) = %#04x, want %#04x", sum, got, want)
		}
	}
}

// TestChecksumRFC1071 is the example of RFC 1071, section 3.
func TestChecksumRFC1071(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := Fold(Sum(b, 0)); got != 0xddf2 {
		t.Errorf("sum %#04x, want 0xddf2", got)
	}
	if got := Checksum(b); got != 0x220d {
		t.Errorf("checksum %#04x, want 0x220d", got)
	}
}

// TestUpdateRFC1624 is the example of RFC 1624, section 4: the update by
// equation 2 would be 0xffff.
func TestUpdateRFC1624(t *testing.T) {
	if got := Update16(0xdd2f, 0x5555, 0x3285); got != 0x0000 {
		t.Errorf("update gives %#04x, want 0x0000", got)
	}
}

func TestUpdateAgainstFull(t *testing.T) {
	r := rng(t)
	for range 100_000 {
		b := randBytes(r, 8+r.IntN(30)*2)
		before := Checksum(b)
		at := r.IntN(len(b)/2-1) * 2
		old := binary.BigEndian.Uint32(b[at:])
		now := r.Uint32()
		binary.BigEndian.PutUint32(b[at:], now)
		want := Checksum(b)
		if got := Update32(before, old, now); got != want {
			t.Fatalf("Update32(%#04x, %#x, %#x) = %#04x, want %#04x", before, old, now, got, want)
		}
		two := Update16(Update16(before, uint16(old>>16), uint16(now>>16)), uint16(old), uint16(now))
		if two != want {
			t.Fatalf("two Update16 give %#04x, want %#04x", two, want)
		}
	}
}

func TestPseudoSum(t *testing.T) {
	r := rng(t)
	for range 1000 {
		n := r.IntN(65536)
		ip := make(IPv4, IPv4MinLen)
		ip.Encode(&IPv4Fields{Protocol: ProtoUDP, Src: rand4(r), Dst: rand4(r)})
		if got, want := Fold(PseudoSum4(ip.Src(), ip.Dst(), ProtoUDP, n)), naiveSum(pseudo4(ip, n)); got != want {
			t.Fatalf("IPv4: %#04x, want %#04x", got, want)
		}
		ip6 := make(IPv6, IPv6Len)
		ip6.Encode(&IPv6Fields{Src: rand16(r), Dst: rand16(r)})
		n *= 17 // a jumbogram's length has more than 16 bits
		if got, want := Fold(PseudoSum6(ip6.Src(), ip6.Dst(), ProtoTCP, n)), naiveSum(pseudo6(ip6, ProtoTCP, n)); got != want {
			t.Fatalf("IPv6: %#04x, want %#04x", got, want)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	for _, bb := range []struct {
		name string
		n    int
	}{{"20", 20}, {"64", 64}, {"1460", 1460}, {"65000", 65000}} {
		b.Run(bb.name, func(b *testing.B) {
			buf := make([]byte, bb.n)
			b.SetBytes(int64(bb.n))
			var sum uint64
			for b.Loop() {
				sum = Sum(buf, sum)
			}
		})
	}
}
