package nat

import (
	"net/netip"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// BenchmarkFragments is the cost of one frame of UDP, in batches of 32: datagrams
// in one frame each, and of the same number of bytes a frame in two fragments each.
func BenchmarkFragments(b *testing.B) {
	const datagrams, size = 1024, 512
	for _, m := range []struct {
		name  string
		parts int
		vip   netip.AddrPort
	}{
		{"whole", 1, dnsVIP},
		{"fragments", 2, dnsVIP},
		{"whole-ipv6", 1, dnsVIP6},
		{"fragments-ipv6", 2, dnsVIP6},
	} {
		b.Run(m.name, func(b *testing.B) {
			bed := newFragmentBed(b)
			w := bed.workers[clientNIC]
			var fresh, frames []nic.Frame
			for i := range datagrams {
				client := client
				if m.vip.Addr().Is6() {
					client = client6
				}
				f := packet(ProtoUDP, netip.AddrPortFrom(client.Addr(), uint16(2000+i)), m.vip, 0, make([]byte, size*m.parts-wire.UDPLen))
				if m.parts == 1 {
					fresh = append(fresh, f)
				} else {
					fresh = append(fresh, cut(f, size, uint16(i))...)
				}
			}
			for _, f := range fresh {
				f.Buf = append([]byte(nil), f.Buf...)
				frames = append(frames, f)
			}
			batch := nic.Batch{N: 32}
			round := func(at int) {
				for k := range 32 {
					n := (at + k) % len(frames)
					copy(frames[n].Buf, fresh[n].Buf)
					batch.Frames[k] = frames[n]
				}
				w.Process(&batch, bed.now)
				if v := w.Verdict(31); v != forwarded {
					b.Fatal(v)
				}
				w.Commit()
			}
			for i := 0; i < len(frames); i += 32 {
				round(i)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += 32 {
				round(i)
			}
		})
	}
}
