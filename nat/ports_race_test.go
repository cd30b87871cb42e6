package nat

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// TestWorkersShareAPool has workers give away the ports of a small pool at the same
// time, while answers come and connections end: no two get the same.
func TestWorkersShareAPool(t *testing.T) {
	b := newFullBed(t, Options{})
	b.pools(Pool{Name: DefaultPool, Addrs: []Addr{lip.As16()}, First: 1000, Last: 1199})
	const workers, rounds = 4, 60
	var all sync.WaitGroup
	var clock atomic.Int64 // some worker's time; no connection is given up within all of it
	clock.Store(b.now)
	for n := range workers {
		w, back := b.e.NewWorker(clientNIC), b.e.NewWorker(serverNIC)
		all.Go(func() {
			batch := nic.Batch{N: 8}
			for round := range rounds {
				now := b.now + int64(round)*5e8
				clock.Store(now)
				for i := range batch.N {
					from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + n)}), uint16(1000+round*batch.N+i))
					batch.Frames[i] = packet(ProtoTCP, from, vip, wire.SYN, nil)
				}
				w.Process(&batch, now)
				answer := nic.Batch{}
				for _, o := range w.Out() {
					var p wire.Packet
					p.Parse(o.Frame.Eth())
					answer.Frames[answer.N] = packet(ProtoTCP, rip, AddrPort(p.Src, p.SrcPort), wire.RST|wire.ACK, nil)
					answer.N++
				}
				w.Commit()
				back.Process(&answer, now)
				for i := range answer.N {
					if v := back.Verdict(i); v != forwarded {
						t.Errorf("an answer: %v (%v)", v, v.Reason)
					}
				}
				back.Commit()
			}
		})
	}
	stop := make(chan struct{})
	var ends sync.WaitGroup
	ends.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				b.e.Expire(clock.Load(), 64)
			}
		}
	})
	all.Wait()
	close(stop)
	ends.Wait()
	b.onePortEach()
}

// TestPortsAllocateNothing has connections come, answered, and have a PROXY header,
// without a piece of memory once the table has its own.
func TestPortsAllocateNothing(t *testing.T) {
	b := newFullBed(t, Options{})
	b.proxy(vipKey)
	in, out := b.workers[clientNIC], b.workers[serverNIC]
	syn := tcpPacket(client, vip, wire.SYN, 100, 0, nil, nil)
	data := tcpPacket(client, vip, wire.ACK, 101, 1, nil, []byte("data"))
	local := b.toServer(clientNIC, nic.Frame{Buf: append([]byte(nil), syn.Buf...)}, rip)
	reply := packet(ProtoTCP, rip, local, wire.ACK, []byte("answer"))
	batch, memory := nic.Batch{N: 1}, make([]byte, 2000)
	one := func(w *Worker, f nic.Frame) {
		batch.Frames[0] = nic.Frame{Buf: memory[:copy(memory, f.Buf)], WireLen: f.WireLen}
		w.Process(&batch, b.now)
		if v := w.Verdict(0); v != forwarded {
			t.Fatalf("%v (%v)", v, v.Reason)
		}
		w.Commit()
	}
	if n := testing.AllocsPerRun(100, func() {
		one(in, syn)
		one(in, data)
		one(out, reply)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
