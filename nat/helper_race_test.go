package nat

import (
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// Several workers carry FTP sessions while timers run out. In the end no
// connection, no count at the server and no flow of the guard's may be left.
func TestHelpersUnderConcurrency(t *testing.T) {
	b := newFTPBed4(t)
	flows := make(nic.Flows, nic.FlowSlots)
	b.e.TellFlows(flows)
	var now atomic.Int64
	now.Store(b.now)
	const workers, sessions = 3, 150
	var wg sync.WaitGroup
	for n := range workers {
		in, out := b.e.NewWorker(clientNIC), b.e.NewWorker(serverNIC)
		wg.Go(func() {
			one := func(w *Worker, f nic.Frame) {
				batch := nic.Batch{N: 1}
				batch.Frames[0] = f
				w.Process(&batch, now.Add(2e7))
				w.Commit()
			}
			for i := range sessions {
				from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(10 + n)}), uint16(2000+i))
				port := uint16(5000 + i%20)
				send := func(fromServer bool, flags uint8, seq, ack uint32, text string) {
					w, src, dst := in, from, b.vip
					if fromServer {
						w, src, dst = out, b.rip, from
					}
					f := packet(ProtoTCP, src, dst, flags, []byte(text))
					tcp := wire.TCP(f.Eth()[wire.EthernetLen+wire.IPv4MinLen:])
					tcp.MoveSeq(seq, false)
					tcp.MoveAck(ack, false)
					one(w, f)
				}
				send(false, wire.SYN, 0, 0, "")
				send(true, wire.SYN|wire.ACK, 0, 1, "")
				send(false, wire.ACK, 1, 1, "")
				send(false, wire.ACK, 1, 1, "PASV\r\nPO")
				send(true, wire.ACK, 1, 7, fmt.Sprintf("227 (10,0,0,5,%d,%d)\r\n", port>>8, port&0xff))
				send(false, wire.ACK, 9, 20, fmt.Sprintf("RT 192,0,2,%d,9,%d\r\n", 10+n, i))
				data := addrPort(from.Addr(), uint16(20000+i))
				one(in, packet(ProtoTCP, data, addrPort(b.vip.Addr(), port), wire.SYN, nil))
				one(out, packet(ProtoTCP, addrPort(b.rip.Addr(), port), data, wire.RST, nil))
				one(out, packet(ProtoTCP, addrPort(b.rip.Addr(), 2120), addrPort(from.Addr(), uint16(9<<8+i)), wire.SYN, nil))
				if i%2 == 0 {
					send(false, wire.RST, 9, 0, "")
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			b.e.Expire(now.Load(), 100)
		}
	}
	if n := b.counters("ftp"); n.Expected < workers*sessions || n.Changed != workers*sessions || n.Refused != 0 {
		t.Errorf("counted %+v", n)
	}
	for range 40 {
		at := now.Add(100e9)
		for b.e.Expire(at, 1000) >= 1000 {
		}
	}
	if n := b.e.Table().Len(); n != 0 {
		t.Errorf("%d connections are left", n)
	}
	for i, n := range flows {
		if n != 0 {
			t.Errorf("flow %d is counted %d times", i, n)
		}
	}
	b.e.Update(func(tx *Tx) {
		for _, s := range tx.Services() {
			for _, d := range s.Servers {
				if d.Active != 0 || d.Inactive != 0 {
					t.Errorf("%v counts %d active and %d inactive", d.Key, d.Active, d.Inactive)
				}
			}
		}
	})
}
