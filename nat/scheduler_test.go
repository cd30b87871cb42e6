package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/sched"
)

var vipKey = ServiceKey{Proto: ProtoTCP, Addr: vip.Addr().As16(), Port: vip.Port()}

// edit changes the service of vip.
func (b *bed) edit(scheduler string, tuning Tuning) (err error) {
	b.e.Update(func(tx *Tx) {
		err = tx.EditService(ServiceSpec{Key: vipKey, Scheduler: scheduler, Tuning: tuning})
	})
	return err
}

func TestTuningIsChecked(t *testing.T) {
	b := newBed(t, Options{})
	for i := range 254 { // with the first 255
		b.command(fmt.Sprintf("-a -t 192.0.2.1:80 -r 10.0.1.%d:80 -m", i+1))
	}
	for _, c := range []struct {
		scheduler string
		tuning    Tuning
		want      error
	}{
		{"rr", Tuning{}, nil},
		{"wlcx", Tuning{}, syscall.ENOENT},
		{"mh", Tuning{MHTableSize: 4092}, syscall.EINVAL},
		{"mh", Tuning{MHTableSize: -1}, syscall.EINVAL},
		{"mh", Tuning{MHTableSize: 251}, syscall.EINVAL}, // for 255 servers
		{"mh", Tuning{MHTableSize: 509}, nil},
		{"mh", Tuning{LRTHalfLife: time.Second}, syscall.EINVAL},
		{"rr", Tuning{MHTableSize: 509}, syscall.EINVAL},
		{"lrt", Tuning{LRTHalfLife: time.Microsecond}, syscall.EINVAL},
		{"lrt", Tuning{LRTHalfLife: -time.Second}, syscall.EINVAL},
		{"lrt", Tuning{LRTHalfLife: time.Minute}, nil},
		{"none", Tuning{}, nil},
	} {
		var before, after ServiceInfo
		b.e.Update(func(tx *Tx) { before, _ = tx.Service(vipKey) })
		err := b.edit(c.scheduler, c.tuning)
		b.e.Update(func(tx *Tx) { after, _ = tx.Service(vipKey) })
		if c.want == nil {
			if err != nil || after.Scheduler != c.scheduler || after.Tuning != c.tuning {
				t.Errorf("%s %+v: %v; the service has %s %+v", c.scheduler, c.tuning, err, after.Scheduler, after.Tuning)
			}
			continue
		}
		if e, ok := err.(*Error); !ok || e.Errno != c.want || e.Detail == "" {
			t.Errorf("%s %+v: %v", c.scheduler, c.tuning, err)
		}
		if after.ServiceSpec != before.ServiceSpec {
			t.Errorf("%s %+v: a refusal left %+v", c.scheduler, c.tuning, after.ServiceSpec)
		}
	}
}

// targets tells where a thousand clients' connections to vip would go.
func (b *bed) targets() (all []netip.AddrPort) {
	for i := range 1000 {
		src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i%100)}), uint16(1024+i))
		v, out := b.in(clientNIC, packet(ProtoTCP, src, vip, wire.SYN, nil))
		if v != forwarded {
			b.t.Fatal(v)
		}
		all = append(all, AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort))
		b.in(clientNIC, packet(ProtoTCP, src, vip, wire.RST, nil))
	}
	b.now += 100e9
	for b.e.Expire(b.now, 1<<20) > 0 {
	}
	return all
}

// Another size is another table, whichever way the service came by it, and
// services have theirs.
func TestMHTableSizeOfAService(t *testing.T) {
	choices := func(sizes ...int) []netip.AddrPort {
		b := newBed(t, Options{})
		b.command("-D -t 192.0.2.1:80")
		spec := ServiceSpec{Key: vipKey, Scheduler: "mh", Tuning: Tuning{MHTableSize: sizes[0]}}
		b.e.Update(func(tx *Tx) {
			if err := tx.AddService(spec); err != nil {
				t.Fatal(err)
			}
		})
		for i := range 5 {
			b.command(fmt.Sprintf("-a -t 192.0.2.1:80 -r 10.0.0.%d:80 -m -w %d", i+11, i+1))
		}
		for _, size := range sizes[1:] {
			if err := b.edit("mh", Tuning{MHTableSize: size}); err != nil {
				t.Fatal(err)
			}
		}
		return b.targets()
	}
	kernels, small, large := choices(0), choices(251), choices(131071)
	if slices.Equal(small, large) || slices.Equal(small, kernels) {
		t.Error("the size of the table changes no choice")
	}
	for _, c := range []struct {
		name string
		got  []netip.AddrPort
		want []netip.AddrPort
	}{
		{"the default by name", choices(4093), kernels},
		{"edited to the default", choices(251, 4093), kernels},
		{"edited without a word of it", choices(251, 0), small},
		{"edited to a larger one", choices(251, 131071), large},
		{"edited to a smaller one", choices(131071, 4093, 251), small},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: other choices", c.name)
		}
	}
}

// watcher records what a service's scheduler is told.
type watcher struct {
	sched.Scheduler
	rtts    []int64
	servers []*sched.Server
	ticks   []int64
	expires time.Duration
}

func (w *watcher) Observe(s *sched.Server, rtt, _ int64) {
	w.rtts = append(w.rtts, rtt)
	w.servers = append(w.servers, s)
}

func (w *watcher) Tick(now int64)                { w.ticks = append(w.ticks, now) }
func (w *watcher) SetExpiration(d time.Duration) { w.expires = d }

// watch puts a watcher in front of the scheduler of vip's service.
func (b *bed) watch() *watcher {
	s := b.e.service(vipKey)
	w := &watcher{Scheduler: s.sched}
	s.schedule(w)
	return w
}

// The sample is the time from the SYN to the first SYN+ACK, if there can be no
// doubt about which SYN that answers.
func TestResponseTimeSamples(t *testing.T) {
	const fromClient, fromServer = clientNIC, serverNIC
	type step struct {
		nic   int
		flags uint8
		after int64 // milliseconds
	}
	syn := step{fromClient, wire.SYN, 0}
	for _, c := range []struct {
		name  string
		steps []step
		want  []int64 // milliseconds
	}{
		{"handshake", []step{syn, {fromServer, wire.SYN | wire.ACK, 5}, {fromClient, wire.ACK, 3}}, []int64{5}},
		{"repeated SYN", []step{syn, {fromClient, wire.SYN, 1000}, {fromServer, wire.SYN | wire.ACK, 5}, {fromServer, wire.SYN | wire.ACK, 5}}, nil},
		{"repeated SYN+ACK", []step{syn, {fromServer, wire.SYN | wire.ACK, 5}, {fromServer, wire.SYN | wire.ACK, 1000}}, []int64{5}},
		{"SYN repeated after the answer", []step{syn, {fromServer, wire.SYN | wire.ACK, 5}, {fromClient, wire.SYN, 1000}, {fromServer, wire.SYN | wire.ACK, 5}}, []int64{5}},
		{"refused", []step{syn, {fromServer, wire.RST | wire.ACK, 1}}, nil},
		{"nonsense", []step{syn, {fromServer, wire.SYN | wire.ACK | wire.RST, 1}}, nil},
		{"no SYN", []step{syn, {fromServer, wire.ACK, 1}}, nil},
		{"simultaneous open", []step{syn, {fromServer, wire.SYN, 1}}, nil},
		{"none", []step{syn, {fromClient, wire.ACK, 1}, {fromServer, wire.SYN | wire.ACK, 1}}, nil},
	} {
		for secure := range 2 {
			b := newBed(t, Options{})
			b.set(func(s *Settings) { s.SecureTCP = 3 * secure })
			w := b.watch()
			for _, s := range c.steps {
				src, dst := client, vip
				if s.nic == fromServer {
					src, dst = rip, client
				}
				if s.after > 0 {
					b.now += s.after*1e6 - 1e6 // in takes one
				}
				b.in(s.nic, packet(ProtoTCP, src, dst, s.flags, nil))
			}
			var got []int64
			for i, rtt := range w.rtts {
				got = append(got, rtt/1e6)
				if w.servers[i] != &b.e.dests[1].Server {
					t.Errorf("%s: the sample is of another server", c.name)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%s, secure_tcp %d: samples %v ms, want %v", c.name, 3*secure, got, c.want)
			}
		}
	}
}

// A connection after the tuple's last one ended is measured by itself.
func TestResponseTimeOfAReusedTuple(t *testing.T) {
	b := newBed(t, Options{})
	w := b.watch()
	b.connect()
	b.in(clientNIC, packet(ProtoTCP, client, vip, wire.RST, nil))
	b.now += 5e9
	b.connect()
	if want := []int64{1e6, 1e6}; !slices.Equal(w.rtts, want) {
		t.Errorf("samples %v ns, want %v", w.rtts, want)
	}
}

// With lrt the slow server gets few connections.
func TestLeastResponseTimeEndToEnd(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m")
	if err := b.edit("lrt", Tuning{LRTHalfLife: time.Minute}); err != nil {
		t.Fatal(err)
	}
	slow := netip.MustParseAddrPort("10.0.0.12:8080")
	counts := map[netip.AddrPort]int{}
	for i := range 1000 {
		src := netip.AddrPortFrom(client.Addr(), uint16(1024+i))
		_, out := b.in(clientNIC, packet(ProtoTCP, src, vip, wire.SYN, nil))
		server := AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort)
		counts[server]++
		if server == slow {
			b.now += 8e6
		}
		b.in(serverNIC, packet(ProtoTCP, server, src, wire.SYN|wire.ACK, nil))
		b.in(clientNIC, packet(ProtoTCP, src, vip, wire.ACK, nil))
	}
	if got := counts[slow]; got < 95 || got > 105 {
		t.Errorf("the server that takes 9 ms got %d of 1000 connections, that of 1 ms %d; due are 100 and 900", got, counts[rip])
	}
}

// What lrt asks for costs no allocation.
func TestObserveAllocatesNothing(t *testing.T) {
	b := newBed(t, Options{})
	if err := b.edit("lrt", Tuning{}); err != nil {
		t.Fatal(err)
	}
	in, out := b.workers[clientNIC], b.workers[serverNIC]
	syn, answer := packet(ProtoTCP, client, vip, wire.SYN, nil), packet(ProtoTCP, rip, client, wire.SYN|wire.ACK, nil)
	var request, reply nic.Batch
	request.N, reply.N = 1, 1
	round := func() {
		request.Frames[0].Buf = append(request.Frames[0].Buf[:0], syn.Buf...)
		reply.Frames[0].Buf = append(reply.Frames[0].Buf[:0], answer.Buf...)
		request.Frames[0].WireLen, reply.Frames[0].WireLen = syn.WireLen, answer.WireLen
		b.now += 1e6
		in.Process(&request, b.now)
		in.Commit()
		out.Process(&reply, b.now)
		out.Commit()
		b.now += 100e9
		for b.e.Expire(b.now, 1<<20) > 0 {
		}
	}
	round()
	before := b.e.Total().OutPkts
	if n := testing.AllocsPerRun(100, round); n != 0 {
		t.Errorf("%v allocations a connection", n)
	}
	if b.e.Total().OutPkts == before {
		t.Error("no answer was forwarded")
	}
}

// The engine's clock drives the caches of lblc and lblcr, and its settings say
// how long they keep what is not used.
func TestCachesAreDriven(t *testing.T) {
	b := newBed(t, Options{})
	w := b.watch()
	b.e.Tick(b.now)
	b.e.Tick(b.now + 1e9)
	if want := []int64{b.now, b.now + 1e9}; !slices.Equal(w.ticks, want) {
		t.Errorf("ticked at %v, want %v", w.ticks, want)
	}
	b.set(func(s *Settings) { s.LBLCExpiration, s.LBLCRExpiration = 1, 2 })
	if w.expires != time.Second {
		t.Errorf("expiration %v after the setting, want 1s", w.expires)
	}
	// A scheduler that comes later takes it from the settings. It forgets at the
	// collection of every half hour.
	for _, c := range []struct {
		scheduler string
		seconds   int
		forgotten bool
	}{
		{"lblc", 86400, false},
		{"lblc", 60, true},
		{"lblc", 0, true},
		{"lblcr", 86400, false},
		{"lblcr", 60, true},
	} {
		b := markBed(t, Options{}, "")
		b.set(func(s *Settings) {
			s.LBLCExpiration, s.LBLCRExpiration = 1e6, 1e6
			if c.scheduler == "lblc" {
				s.LBLCExpiration = c.seconds
			} else {
				s.LBLCRExpiration = c.seconds
			}
		})
		b.command("-e -f 7 -r 10.0.0.11:8080 -m -w 100", "-e -f 7 -r 10.0.0.12:8080 -m -w 100", "-E -f 7 -s "+c.scheduler)
		target := func(port uint16) netip.AddrPort {
			_, out := b.in(clientNIC, packet(ProtoTCP, netip.AddrPortFrom(client.Addr(), port), netip.MustParseAddrPort("198.51.100.1:80"), wire.SYN, nil))
			return AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort)
		}
		first := target(1024)
		if again := target(1025); again != first {
			t.Fatalf("%s: the destination went from %v to %v", c.scheduler, first, again)
		}
		for range 32 * 60 {
			b.now += 1e9
			b.e.Tick(b.now)
		}
		// Half-open connections weigh on the first server; none has expired.
		if now := target(1026); (now != first) != c.forgotten {
			t.Errorf("%s_expiration %d: the destination was at %v, half an hour later at %v", c.scheduler, c.seconds, first, now)
		}
	}
}
