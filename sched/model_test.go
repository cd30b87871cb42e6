package sched

import (
	"container/list"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
)

// The models here are slow and obvious: exact fractions, stable sorts, linked
// lists as the kernel has them.

func newRandom(t *testing.T) *rand.Rand {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

// randomList makes up to 8 servers, with ties, weight 0 and overload often.
func randomList(random *rand.Rand) []*Server {
	list := make([]*Server, random.IntN(9))
	few := 1 + random.Int32N(10)
	for i := range list {
		s := &Server{Weight: random.Int32N(few), Available: true}
		if random.IntN(10) == 0 {
			s.Weight = math.MaxInt32 - random.Int32N(2)
		}
		s.Active.Store(random.Int32N(few))
		s.Total.Store(s.Active.Load() + random.Int32N(few))
		if random.IntN(10) == 0 {
			s.Active.Store(1<<22 + random.Int32N(2))
		}
		s.Overloaded.Store(random.IntN(5) == 0)
		list[i] = s
	}
	return list
}

// smallest is the first of those for which key is smallest; key is nil for
// servers out of the question.
func smallest(servers []*Server, key func(*Server) *big.Rat) *Server {
	servers = slices.DeleteFunc(slices.Clone(servers), func(s *Server) bool { return key(s) == nil })
	slices.SortStableFunc(servers, func(a, b *Server) int { return key(a).Cmp(key(b)) })
	if len(servers) == 0 {
		return nil
	}
	return servers[0]
}

func load(s *Server) int64 { return 256*int64(s.Active.Load()) + int64(s.Total.Load()) }

var statelessModels = map[string]func(*Server) *big.Rat{
	"lc":  func(s *Server) *big.Rat { return big.NewRat(load(s), 1) },
	"wlc": func(s *Server) *big.Rat { return big.NewRat(load(s), int64(s.Weight)) },
	"sed": func(s *Server) *big.Rat { return big.NewRat(int64(s.Active.Load())+1, int64(s.Weight)) },
	"nq": func(s *Server) *big.Rat {
		if s.Active.Load() == 0 {
			return new(big.Rat)
		}
		return big.NewRat(int64(s.Active.Load())+1, int64(s.Weight))
	},
	"fo": func(s *Server) *big.Rat { return big.NewRat(-int64(s.Weight), 1) },
	"ovf": func(s *Server) *big.Rat {
		if s.Active.Load() > s.Weight {
			return nil
		}
		return big.NewRat(-int64(s.Weight), 1)
	},
}

func TestStatelessModels(t *testing.T) {
	random := newRandom(t)
	for name, key := range statelessModels {
		s := newScheduler(t, name)
		for range 5_000 {
			servers := randomList(random)
			want := smallest(servers, func(s *Server) *big.Rat {
				if s.Weight == 0 || s.Overloaded.Load() {
					return nil
				}
				return key(s)
			})
			if got := s.Pick(servers, &Request{}); got != want {
				t.Fatalf("%s picked index %d of %s, want %d", name, slices.Index(servers, got), show(servers), slices.Index(servers, want))
			}
		}
	}
}

func show(servers []*Server) string {
	var text []byte
	for _, s := range servers {
		text = append(text, "[w"...)
		text = big.NewInt(int64(s.Weight)).Append(text, 10)
		text = append(text, " a"...)
		text = big.NewInt(int64(s.Active.Load())).Append(text, 10)
		text = append(text, " t"...)
		text = big.NewInt(int64(s.Total.Load())).Append(text, 10)
		if s.Overloaded.Load() {
			text = append(text, " over"...)
		}
		text = append(text, ']')
	}
	return string(text)
}

// ring is a service's list with a head, as the kernel links it: an element
// whose Value is nil is the head.
type ring struct {
	all  *list.List
	head *list.Element
}

func newRing() *ring {
	r := &ring{all: list.New()}
	r.head = r.all.PushFront((*Server)(nil))
	return r
}

func (r *ring) next(e *list.Element) *list.Element {
	if n := e.Next(); n != nil {
		return n
	}
	return r.head
}

func (r *ring) server(e *list.Element) *Server { return e.Value.(*Server) }

// rrModel is rr by list elements.
type rrModel struct {
	*ring
	p *list.Element
}

func (m *rrModel) change(op Op, e *list.Element) {
	if op == Delete && e == m.p {
		m.p = e.Prev()
	}
}

func (m *rrModel) pick() *Server {
	e := m.p
	for range m.all.Len() {
		e = m.next(e)
		if s := m.server(e); s != nil && s.Weight > 0 && !s.Overloaded.Load() {
			m.p = e
			return s
		}
	}
	return nil
}

// wrrModel is wrr by list elements, one round after the other.
type wrrModel struct {
	*ring
	cl         *list.Element
	cw, mw, di int32
}

func (m *wrrModel) change(op Op, gone *list.Element) {
	m.cl = m.head
	var most, divisor int64
	for e := m.next(m.head); e != m.head; e = m.next(e) {
		if w := int64(m.server(e).Weight); w > 0 && (op != Delete || e != gone) {
			most = max(most, w)
			divisor = new(big.Int).GCD(nil, nil, big.NewInt(divisor), big.NewInt(w)).Int64()
		}
	}
	m.di = int32(max(divisor, 1))
	m.mw = 0
	if most > 0 {
		m.mw = int32(most) - (m.di - 1)
	}
	if m.cw > m.mw || m.cw == 0 {
		m.cw = m.mw
	} else if m.di > 1 {
		m.cw = (m.cw/m.di)*m.di + 1
	}
}

func (m *wrrModel) pick() *Server {
	if m.mw == 0 {
		return nil
	}
	last := m.cl
	var stop *list.Element
	lastPass, restarted := false, false
	d := m.cl
	for {
		for d = m.next(d); d != m.head; d = m.next(d) {
			if s := m.server(d); !s.Overloaded.Load() && s.Weight >= m.cw {
				m.cl = d
				return s
			}
			if d == stop {
				m.cl = d
				return nil
			}
		}
		m.cw -= m.di
		if m.cw <= 0 {
			m.cw = m.mw
			if lastPass || last == m.head {
				m.cl = m.head
				return nil
			}
			restarted = true
		}
		lastPass = m.cw <= m.di
		if lastPass && restarted && last != m.head {
			stop = last
		}
	}
}

func TestRoundRobinModels(t *testing.T) {
	type model interface {
		change(op Op, e *list.Element)
		pick() *Server
	}
	random := newRandom(t)
	for _, name := range []string{"rr", "wrr"} {
		for range 200 {
			r := newRing()
			var m model
			if name == "rr" {
				m = &rrModel{ring: r, p: r.head}
			} else {
				m = &wrrModel{ring: r, cl: r.head, di: 1}
			}
			s := newScheduler(t, name)
			s.Init(nil)
			var servers []*Server
			unit := 1 + random.Int32N(20) // a divisor that all weights share
			for step := range 2000 {
				weight := unit * random.Int32N(6)
				if random.IntN(20) == 0 {
					weight++
				}
				switch n := random.IntN(100); {
				case n < 3 && len(servers) < 8:
					sv := &Server{Weight: weight, Available: true}
					servers = slices.Insert(slices.Clone(servers), 0, sv)
					m.change(Add, r.all.InsertAfter(sv, r.head))
					s.Changed(Add, sv, 0, servers)
				case n < 5 && len(servers) > 0:
					at := random.IntN(len(servers))
					e := elementAt(r, at)
					m.change(Delete, e)
					r.all.Remove(e)
					sv := servers[at]
					servers = slices.Delete(slices.Clone(servers), at, at+1)
					s.Changed(Delete, sv, at, servers)
				case n < 7 && len(servers) > 0:
					at := random.IntN(len(servers))
					servers[at].Weight = weight
					m.change(Edit, elementAt(r, at))
					s.Changed(Edit, servers[at], at, servers)
				case n < 15 && len(servers) > 0:
					servers[random.IntN(len(servers))].Overloaded.Store(random.IntN(2) == 0)
				}
				if got, want := s.Pick(servers, &Request{}), m.pick(); got != want {
					t.Fatalf("%s, step %d: picked index %d of %s, want %d", name, step,
						slices.Index(servers, got), show(servers), slices.Index(servers, want))
				}
				if w, ok := s.(*wrr); ok {
					if m := m.(*wrrModel); w.weight != m.cw {
						t.Fatalf("wrr, step %d: threshold %d, want %d", step, w.weight, m.cw)
					}
				}
			}
		}
	}
}

func elementAt(r *ring, at int) *list.Element {
	e := r.head.Next()
	for range at {
		e = e.Next()
	}
	return e
}

// TestMHModel fills tables by the permutations written out, as in the Maglev
// paper, and searches them the same way.
func TestMHModel(t *testing.T) {
	random := newRandom(t)
	for range 40 {
		const size = 251
		s, err := NewWith("mh", Options{MHTableSize: size})
		if err != nil {
			t.Fatal(err)
		}
		weights := make([]int32, 1+random.IntN(20))
		for i := range weights {
			weights[i] = random.Int32N(100) * (1 + random.Int32N(2)*random.Int32N(50))
		}
		servers := service(s, weights...)
		for at, sv := range servers {
			if random.IntN(4) == 0 {
				sv.Weight = 0
				s.Changed(Edit, sv, at, servers)
			}
		}
		table := mhModelTable(servers, size)
		if !slices.Equal(table, s.(*mh).slots) {
			t.Fatalf("weights %v: table %v, want %v", weights, numbers(s.(*mh).slots), numbers(table))
		}
		for range 200 {
			req := &Request{Client: addr("10.0.0.0"), ClientPort: uint16(random.Uint32()), Flags: Flags(random.IntN(4))}
			req.Client[14], req.Client[15] = byte(random.Uint32()), byte(random.Uint32())
			v := uint32(10<<24) + uint32(req.Client[14])<<8 + uint32(req.Client[15])
			if req.Flags&Flag2 != 0 {
				v += uint32(req.ClientPort)
			}
			want := table[sipHash13(v, mhKey1)%size]
			if want != nil && want.Weight == 0 {
				want = nil
				for r := range uint32(size) {
					at := (r + sipHash13(v, mhKey1)%size) % size
					probed := table[sipHash13(v+at, mhKey1)%size]
					if req.Flags&Flag1 != 0 && want == nil && probed.Weight > 0 {
						want = probed
					}
				}
			}
			if got := s.Pick(servers, req); got != want {
				t.Fatalf("weights %v: picked %d, want %d", weights, number(got), number(want))
			}
		}
	}
}

func mhModelTable(servers []*Server, size int) []*Server {
	divisor := new(big.Int)
	var most int64
	for _, s := range servers {
		divisor.GCD(nil, nil, divisor, big.NewInt(int64(s.LastWeight)))
		most = max(most, int64(s.LastWeight))
	}
	table := make([]*Server, size)
	g := divisor.Int64()
	if g == 0 {
		return table
	}
	for most /= g; most >= 64; most /= 2 {
		g *= 2 // turns halve
	}
	permutations := make([][]int, len(servers))
	for i, s := range servers {
		v := 192<<24 + 168<<16 + 10<<8 + uint32(s.Addr[15]) + 80
		offset, skip := int(sipHash13(v, mhKey1)%uint32(size)), int(sipHash13(v, mhKey2)%uint32(size-1)+1)
		for j := range size {
			permutations[i] = append(permutations[i], (offset+j*skip)%size)
		}
	}
	for filled := 0; ; {
		for i, s := range servers {
			turns := int64(s.LastWeight) / g
			if s.LastWeight > 0 {
				turns = max(turns, 1)
			}
			for range turns {
				free := slices.IndexFunc(permutations[i], func(slot int) bool { return table[slot] == nil })
				table[permutations[i][free]] = s
				permutations[i] = permutations[i][free+1:]
				if filled++; filled == size {
					return table
				}
			}
		}
	}
}

// TestTwosModel compares shares with those of all pairs that can be drawn.
func TestTwosModel(t *testing.T) {
	for _, tt := range []struct {
		weights, active []int32 // in list order
	}{
		{[]int32{1, 1}, []int32{0, 0}},
		{[]int32{1, 2, 3}, []int32{0, 0, 0}},
		{[]int32{1, 2, 3}, []int32{1, 5, 1}},
		{[]int32{5, 0, 5, 1}, []int32{10, 0, 9, 2}},
		{[]int32{100, 100}, []int32{100_000, 1}}, // the product wraps in 32 bits
	} {
		s := newScheduler(t, "twos")
		var servers []*Server
		var sum int32
		for i, w := range tt.weights {
			sv := &Server{Weight: w, Available: true}
			sv.Active.Store(tt.active[i])
			sv.Total.Store(tt.active[i])
			servers = append(servers, sv)
			sum += w
		}
		s.Init(servers)
		due := make([]float64, len(servers))
		for r1 := range sum + 1 {
			for r2 := range sum + 1 {
				a, b := drawn(tt.weights, r1), drawn(tt.weights, r2)
				loadA, loadB := 257*tt.active[a], 257*tt.active[b]
				if tt.weights[b]*loadA > tt.weights[a]*loadB {
					a = b
				}
				due[a] += 1 / float64((sum+1)*(sum+1))
			}
		}
		const picks = 1_000_000
		counts := make([]float64, len(servers))
		for range picks {
			counts[slices.Index(servers, s.Pick(servers, &Request{}))]++
		}
		for i := range counts {
			if got := counts[i] / picks; math.Abs(got-due[i]) > 0.003 {
				t.Errorf("weights %v, active %v: server %d got %.4f, due %.4f", tt.weights, tt.active, i, got, due[i])
			}
		}
	}
}

func drawn(weights []int32, r int32) int {
	for i, w := range weights {
		if r -= w; w > 0 && r <= 0 {
			return i
		}
	}
	panic("drawn more than there is")
}
