package nat

import (
	"fmt"
	"net/netip"
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// BenchmarkForward is the cost of one packet of an established connection to one of
// 100 servers, in batches of 32, by number of connections.
func BenchmarkForward(b *testing.B) {
	for _, conns := range []int{1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(conns), func(b *testing.B) {
			bed := newBed(b, Options{Conns: conntrack.Config{Max: conns + 10}})
			for i := range 99 {
				bed.command(fmt.Sprintf("-a -t 192.0.2.1:80 -r 10.0.0.%d:80 -m", i+100))
			}
			w := bed.workers[clientNIC]
			source := func(i int) netip.AddrPort {
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, byte(i >> 16), byte(i >> 8), byte(i)}), uint16(1024+i%50000))
			}
			batch := nic.Batch{N: 32}
			for i := 0; i < conns; i += 32 {
				for k := range 32 {
					batch.Frames[k] = packet(ProtoTCP, source(i+k), vip, wire.SYN, nil)
				}
				w.Process(&batch, bed.now)
				w.Commit()
			}
			const ring = 1 << 14
			frames := make([]nic.Frame, ring)
			fresh := make([][]byte, ring)
			for i := range frames {
				frames[i] = packet(ProtoTCP, source(i*7919%conns), vip, wire.ACK, make([]byte, 10))
				fresh[i] = append([]byte(nil), frames[i].Buf[:64]...)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := 0; i < b.N; i += 32 {
				for k := range 32 {
					n := (i + k) % ring
					copy(frames[n].Buf, fresh[n])
					batch.Frames[k] = frames[n]
				}
				w.Process(&batch, bed.now)
				w.Commit()
			}
		})
	}
}

// BenchmarkConnect is the cost of a connection's first packet: rr, 100 servers.
func BenchmarkConnect(b *testing.B) {
	bed := newBed(b, Options{Conns: conntrack.Config{Max: 1 << 20}})
	for i := range 99 {
		bed.command(fmt.Sprintf("-a -t 192.0.2.1:80 -r 10.0.0.%d:80 -m", i+100))
	}
	w := bed.workers[clientNIC]
	batch := nic.Batch{N: 32}
	for k := range 32 {
		batch.Frames[k] = packet(ProtoTCP, client, vip, wire.SYN, nil)
	}
	fresh := append([]byte(nil), batch.Frames[0].Buf...)
	b.ReportAllocs()
	b.ResetTimer()
	for i := 0; i < b.N; i += 32 {
		for k := range 32 {
			copy(batch.Frames[k].Buf, fresh)
			ip := wire.IPv4(batch.Frames[k].Eth()[wire.EthernetLen:])
			n := (i + k) & (1<<20 - 1)
			ip.SetSrc([4]byte{100, byte(n >> 16), byte(n >> 8), byte(n)})
		}
		if i > 0 && i%(1<<19) == 0 {
			b.StopTimer()
			bed.now += 100e9
			for bed.e.Expire(bed.now, 1<<20) > 0 {
			}
			b.StartTimer()
		}
		w.Process(&batch, bed.now)
		w.Commit()
	}
}
