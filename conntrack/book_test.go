package conntrack

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"vsnat/conntrack/state"
)

// TestBookModel has random connections take ports and end in every way, and holds the
// book to a map: no two live connections have the same port towards the same far
// end, every one is found by its port, none is left behind, and a port rests as long
// as its far end may know it.
func TestBookModel(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 1))
	t.Logf("seed %d", seed)
	table, err := New(Config{Max: 400, Shards: 4, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	if table.Book() != nil {
		t.Fatal("there is a book before it is opened")
	}
	table.OpenBook()
	b := table.Book()
	type port struct {
		PortKey
	}
	live := map[port]Ref{}
	rests := map[port]int64{} // until when
	keys := map[Ref]port{}
	now := int64(1000e9)
	addr := func(n int) Addr { return Addr{10: 0xff, 11: 0xff, 12: 10, 15: byte(n)} }
	drop := func(s *Shard, c *Conn) {
		p, had := keys[table.Ref(c)]
		if had {
			delete(keys, table.Ref(c))
			if live[p] == table.Ref(c) {
				delete(live, p)
				if c.Proto == protoTCP {
					rests[p] = c.Expires - c.Timeout() + portRest
					if state.TCP(c.State) == state.TCPClose {
						rests[p] = c.Expires - c.Timeout() + resetRest
					}
				}
			}
		}
		if !s.Remove(c) {
			t.Fatal("a connection cannot be removed")
		}
	}
	taken, refused, over := 0, 0, 0
	for step := range 60_000 {
		now += int64(rnd.IntN(400)) * 1e6
		switch rnd.IntN(10) {
		case 0, 1, 2, 3:
			proto := []uint8{protoTCP, 17, 1}[rnd.IntN(3)]
			k := Key{Client: addr(rnd.IntN(250)), ClientPort: uint16(1 + rnd.IntN(60000)), Virtual: addr(251), VirtualPort: 80, Proto: proto}
			hash := table.Hash(k.Proto, k.Client, k.ClientPort)
			s := table.Shard(hash)
			s.Lock()
			c := s.Insert(hash, &k, now)
			if c == nil {
				s.Unlock()
				continue
			}
			c.Dest, c.DestPort = addr(rnd.IntN(3)), 80
			p := port{PortKey{Local: addr(200 + rnd.IntN(2)), LocalPort: uint16(1 + rnd.IntN(30)), Remote: c.Dest, RemotePort: c.DestPort, Proto: proto}}
			_, busy := live[p]
			ok := s.TakePort(c, p.Local, p.LocalPort, now)
			switch {
			case ok && (busy || rests[p] > now):
				t.Fatalf("step %d: a port that is busy (%v) or rests was taken", step, busy)
			case ok:
				taken++
				live[p], keys[table.Ref(c)] = table.Ref(c), p
				delete(rests, p)
				s.Arm(c, now, 900e9)
			default:
				refused++
				if busy && rnd.IntN(2) == 0 {
					if next, ok := s.TakePortOver(c, p.Local, p.LocalPort, now); ok {
						if next != uint32(live[p]) {
							t.Fatalf("step %d: the far end awaits %d, want %d", step, next, live[p])
						}
						over++
						live[p], keys[table.Ref(c)] = table.Ref(c), p
						s.Arm(c, now, 900e9)
						break
					}
				}
				s.Arm(c, now, 900e9)
				drop(s, c)
			}
			s.Unlock()
		case 4, 5, 6:
			for ref, p := range keys { // a random one
				s := table.Home(ref)
				s.Lock()
				c := s.Get(ref)
				if has := s.HasPort(c); has != (live[p] == ref) {
					t.Fatalf("step %d: has its port: %v", step, has)
				}
				if c.Proto == protoTCP {
					c.State = uint8([]state.TCP{state.TCPEstablished, state.TCPTimeWait, state.TCPClose}[rnd.IntN(3)])
					s.NoteNext(c, uint32(ref))
					is := state.TCP(c.State) != state.TCPEstablished
					if noted := s.NotePort(c, is, now); noted != (live[p] == ref) {
						t.Fatalf("step %d: noted: %v", step, noted)
					}
				}
				s.Unlock()
				break
			}
		default:
			for ref := range keys {
				s := table.Home(ref)
				s.Lock()
				drop(s, s.Get(ref))
				s.Unlock()
				break
			}
		}
		if step%97 == 0 {
			if b.Used() != len(live) {
				t.Fatalf("step %d: %d ports in use, want %d", step, b.Used(), len(live))
			}
			for p, ref := range live {
				if got := b.Find(b.Hash(&p.PortKey)); got != ref {
					t.Fatalf("step %d: found %v, want %v", step, got, ref)
				}
				s := table.Home(ref)
				s.Lock()
				if !s.IsPort(s.Get(ref), &p.PortKey) {
					t.Fatalf("step %d: not its port", step)
				}
				s.Unlock()
			}
		}
	}
	if taken < 1000 || refused < 1000 || over < 100 {
		t.Errorf("%d taken, %d refused, %d taken over: the test tests too little", taken, refused, over)
	}
	for ref := range keys {
		s := table.Home(ref)
		s.Lock()
		drop(s, s.Get(ref))
		s.Unlock()
	}
	if b.Used() != 0 || table.Len() != 0 {
		t.Errorf("%d ports and %d connections are left", b.Used(), table.Len())
	}
}

// A connection that moves to another shard keeps its port.
func TestPortMovesWithConnection(t *testing.T) {
	table, err := New(Config{Max: 100, Shards: 4, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	table.OpenBook()
	client, virtual, dest := Addr{15: 1}, Addr{15: 2}, Addr{15: 3}
	w := table.NoCPort()
	hash := table.Hash(protoTCP, client, 0)
	w.Lock()
	c := w.Insert(hash, &Key{Client: client, Virtual: virtual, VirtualPort: 20, Proto: protoTCP}, 1)
	c.Dest, c.DestPort = dest, 20
	if !w.TakePort(c, virtual, 1000, 1) {
		t.Fatal("no port")
	}
	w.Arm(c, 1, 60e9)
	w.Unlock()
	key := Key{Client: client, ClientPort: 4000, Virtual: virtual, VirtualPort: 20, Proto: protoTCP}
	hash = table.Hash(protoTCP, client, 4000)
	s := table.Shard(hash)
	s.Lock()
	defer s.Unlock()
	moved := s.In(hash, &key)
	b := table.Book()
	k := PortKey{Local: virtual, LocalPort: 1000, Remote: dest, RemotePort: 20, Proto: protoTCP}
	if moved == nil || b.Find(b.Hash(&k)) != table.Ref(moved) || !s.HasPort(moved) || b.Used() != 1 {
		t.Fatalf("moved: %+v, found %v", moved, b.Find(b.Hash(&k)))
	}
	s.Remove(moved)
	if b.Used() != 0 || b.Find(b.Hash(&k)) != 0 {
		t.Error("the port is left behind")
	}
}

func BenchmarkBookFind(b *testing.B) {
	for _, conns := range []int{10_000, 1_000_000} {
		b.Run(fmt.Sprint(conns), func(b *testing.B) {
			book := newBook(conns, spread(1))
			key := func(i int) PortKey {
				return PortKey{Local: Addr{15: 1}, LocalPort: uint16(i), Remote: Addr{12: byte(i >> 24), 13: byte(i >> 16)}, RemotePort: 80, Proto: protoTCP}
			}
			for i := range conns {
				k := key(i)
				book.take(book.Hash(&k), Ref(i+1), 1)
			}
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				k := key(i * 7919 % conns)
				if book.Find(book.Hash(&k)) == 0 && i == 0 {
					b.Fatal("not found")
				}
			}
		})
	}
}
