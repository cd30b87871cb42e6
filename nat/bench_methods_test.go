package nat

import (
	"net/netip"
	"strings"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// BenchmarkMethods is the cost of one small packet from a client of an established
// connection, in batches of 32, by forwarding method. The frames lie as devices
// deliver them, with room before them.
func BenchmarkMethods(b *testing.B) {
	const conns, ring = 10_000, 1 << 12
	for _, m := range []struct{ name, flags string }{
		{"masq", "-m"},
		{"direct", "-g"},
		{"ipip", "-i"},
		{"gue", "-i --tun-type gue --tun-port 5555"},
		{"gue-csum", "-i --tun-type gue --tun-port 5555 --tun-csum"},
		{"gre", "-i --tun-type gre"},
		{"gre-csum", "-i --tun-type gre --tun-csum"},
		{"masq-ipv6", "-m"},
		{"direct-ipv6", "-g"},
	} {
		b.Run(m.name, func(b *testing.B) {
			bed := newBed(b, Options{Conns: conntrack.Config{Max: conns + 10}})
			vip, server := vip, "10.0.0.11:80"
			v6 := strings.HasSuffix(m.name, "ipv6")
			if v6 {
				vip, server = vip6, "[2001:db8:5::11]:80"
			}
			bed.command("-C", "-A -t "+vip.String()+" -s rr", "-a -t "+vip.String()+" -r "+server+" "+m.flags)
			w := bed.workers[clientNIC]
			source := func(i int) netip.AddrPort {
				if v6 {
					a := client6.Addr().As16()
					a[13], a[14], a[15] = byte(i>>16), byte(i>>8), byte(i)
					return netip.AddrPortFrom(netip.AddrFrom16(a), uint16(1024+i%50000))
				}
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024+i%50000))
			}
			var batch nic.Batch
			batch.N = 32
			for i := 0; i < conns; i += 32 {
				for k := range 32 {
					batch.Frames[k] = packet(ProtoTCP, source(i+k), vip, wire.SYN, nil)
				}
				w.Process(&batch, bed.now)
				w.Commit()
			}
			fresh := make([][]byte, ring)
			slots := make([][]byte, ring)
			for i := range slots {
				f := packet(ProtoTCP, source(i*7919%conns), vip, wire.ACK, make([]byte, 10))
				fresh[i], slots[i] = f.Buf, make([]byte, nic.Headroom+len(f.Buf))
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += 32 {
				for k := range 32 {
					n := (i + k) % ring
					slots[n][nic.Headroom-1]++ // before a frame stands its slot's header
					copy(slots[n][nic.Headroom:], fresh[n])
					f := &batch.Frames[k]
					f.Place(slots[n], nic.Headroom, len(slots[n]))
					f.WireLen, f.Tail = len(f.Eth()), nil
				}
				w.Process(&batch, bed.now)
				if w.Verdict(31) != forwarded {
					b.Fatal(w.Verdict(31))
				}
				w.Commit()
			}
		})
	}
}
