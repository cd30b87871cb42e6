package sched

import (
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func addr(s string) Addr { return netip.MustParseAddr(s).As16() }

// service adds servers of these weights, one by one, at 192.168.10.1 and up,
// port 80, and returns them in list order, the last first.
func service(s Scheduler, weights ...int32) []*Server {
	s.Init(nil)
	var list []*Server
	for i, w := range weights {
		sv := &Server{Addr: addr("192.168.10.0"), Port: 80, Weight: w, LastWeight: w, Available: true}
		sv.Addr[15] = byte(i + 1)
		list = slices.Insert(slices.Clone(list), 0, sv)
		s.Changed(Add, sv, 0, list)
	}
	return list
}

// number is the place in which a server of service was added, 0 for nil.
func number(s *Server) int {
	if s == nil {
		return 0
	}
	return int(s.Addr[15])
}

func newScheduler(t testing.TB, name string) Scheduler {
	t.Helper()
	s, err := New(name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func numbers(servers []*Server) []int {
	var all []int
	for _, s := range servers {
		all = append(all, number(s))
	}
	return all
}

func TestRoundRobinSequences(t *testing.T) {
	for _, tt := range []struct {
		name    string
		weights []int32
		want    []int
	}{
		{"rr", []int32{1, 1, 1}, []int{3, 2, 1, 3, 2, 1, 3}},
		{"rr", []int32{5, 0, 1}, []int{3, 1, 3, 1}},
		{"rr", []int32{0}, []int{0, 0}},
		{"wrr", []int32{3, 2, 1}, []int{3, 2, 1, 1, 2, 1, 3, 2, 1, 1, 2, 1}},
		{"wrr", []int32{4, 2}, []int{2, 1, 1, 2, 1, 1}},
		{"wrr", []int32{1, 2, 3}, []int{3, 2, 1, 3, 3, 2, 3, 2, 1, 3, 3, 2}},
		{"wrr", []int32{7, 7, 7}, []int{3, 2, 1, 3, 2, 1}},
		{"wrr", []int32{0, 0}, []int{0, 0}},
	} {
		s := newScheduler(t, tt.name)
		list := service(s, tt.weights...)
		var got []int
		for range tt.want {
			got = append(got, number(s.Pick(list, &Request{})))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s, weights %v: picks %v, want %v", tt.name, tt.weights, got, tt.want)
		}
	}
}

// Thresholds of weights far apart are skipped: this would take hours otherwise.
func TestWRRWeightsFarApart(t *testing.T) {
	s := newScheduler(t, "wrr")
	list := service(s, 1, 1<<31-1)
	list[0].Overloaded.Store(true)
	for n := range 10_000 {
		if got := number(s.Pick(list, &Request{})); got != 1 {
			t.Fatalf("pick %d is %d, want 1", n, got)
		}
	}
	list[1].Overloaded.Store(true)
	for range 10_000 {
		if got := s.Pick(list, &Request{}); got != nil {
			t.Fatalf("picked %d though all are overloaded", number(got))
		}
	}
}

func TestHashes(t *testing.T) {
	for _, tt := range []struct {
		addr            string
		fold            uint32
		eight, ten, sip uint32 // sip is with mhKey1, 0 where not known
	}{
		{"0.0.0.0", 0, 0, 0, 0x1d5a77c2},
		{"10.0.0.1", 0x0A000001, 39, 159, 0x03080ce4},
		{"10.0.0.2", 0x0A000002, 137, 550, 0},
		{"192.168.1.100", 0xC0A80164, 89, 357, 0},
		{"203.0.113.7", 0xCB007107, 124, 499, 0},
		{"2001:db8::1", 0x20010db9, 63, 252, 0},
	} {
		a := addr(tt.addr)
		f := fold(&a)
		if f != tt.fold {
			t.Errorf("%s folds to %#x, want %#x", tt.addr, f, tt.fold)
		}
		if h8, h10 := hash32(f, 8), hash32(f, 10); h8 != tt.eight || h10 != tt.ten {
			t.Errorf("%s hashes to %d and %d, want %d and %d", tt.addr, h8, h10, tt.eight, tt.ten)
		}
		if got := sipHash13(f, mhKey1); tt.sip != 0 && got != tt.sip {
			t.Errorf("SipHash of %s is %#x, want %#x", tt.addr, got, tt.sip)
		}
	}
	if got := sipHash13(0x0A000001, mhKey2); got != 0x48f9d0c1 {
		t.Errorf("SipHash with the second key is %#x, want 0x48f9d0c1", got)
	}
}

func TestSHBuckets(t *testing.T) {
	s := &sh{}
	list := service(s, 1, 2, 3)
	if got, want := numbers(s.buckets[:12]), []int{3, 3, 3, 2, 2, 1, 3, 3, 3, 2, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("buckets %v, want %v", got, want)
	}
	for client, want := range map[string]int{"10.0.0.1": 2, "10.0.0.2": 1, "192.168.1.100": 1} {
		if got := number(s.Pick(list, &Request{Client: addr(client)})); got != want {
			t.Errorf("%s goes to %d, want %d", client, got, want)
		}
	}
	// A quiesced server keeps one bucket in a round; a heavy first one has all.
	service(s, 1, 0, 2)
	if got, want := numbers(s.buckets[:8]), []int{3, 3, 2, 1, 3, 3, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("buckets with weight 0 %v, want %v", got, want)
	}
	service(s, 1, 256)
	if got := number(s.buckets[255]); got != 2 {
		t.Errorf("the last bucket is %d's, want 2's", got)
	}
}

// TestSHFallbackProbes leaves one bucket after the other usable, in the order in
// which a client whose own is not usable must find them.
func TestSHFallbackProbes(t *testing.T) {
	s := &sh{}
	req := &Request{Client: addr("10.0.0.1"), Flags: fallback} // hashes to 39
	bad := &Server{Available: true}
	for i := range s.buckets {
		s.buckets[i] = bad
	}
	good := make([]*Server, shSize)
	for _, b := range []int{77, 76, 0, 255, 80, 79, 78} { // last probed first
		good[b] = &Server{Weight: 1, Available: true}
		s.buckets[b] = good[b]
		if got := s.Pick(nil, req); got != good[b] {
			t.Errorf("bucket %d is not probed before the others", b)
		}
	}
}

func TestDHBuckets(t *testing.T) {
	s := &dh{}
	list := service(s, 1, 5, 9)
	if got, want := numbers(s.buckets[:6]), []int{3, 2, 1, 3, 2, 1}; !slices.Equal(got, want) {
		t.Errorf("buckets %v, want %v", got, want)
	}
	// 10.0.0.1 hashes to 39, bucket 39 % 3.
	if got := number(s.Pick(list, &Request{Virtual: addr("10.0.0.1")})); got != 3 {
		t.Errorf("picked %d, want 3", got)
	}
}

func TestMHTable(t *testing.T) {
	for _, tt := range []struct {
		weights []int32
		slots   []int // the first
		counts  []int // of servers 1, 2, 3
	}{
		{[]int32{1, 1, 1}, []int{3, 1, 1, 2, 3, 3, 3, 2, 1, 2, 1, 1}, []int{1364, 1364, 1365}},
		{[]int32{1, 2, 3}, []int{3, 1, 1, 2, 3, 3, 3, 2, 3, 2, 1, 1}, []int{682, 1364, 2047}},
		{[]int32{10, 20, 30}, []int{3, 1, 1, 2, 3, 3, 3, 2, 3, 2, 1, 1}, []int{682, 1364, 2047}},
	} {
		m := newScheduler(t, "mh").(*mh)
		service(m, tt.weights...)
		if got := numbers(m.slots[:12]); !slices.Equal(got, tt.slots) {
			t.Errorf("weights %v: slots %v, want %v", tt.weights, got, tt.slots)
		}
		counts := make([]int, 4)
		for _, s := range m.slots {
			counts[number(s)]++
		}
		if !slices.Equal(counts[1:], tt.counts) {
			t.Errorf("weights %v: counts %v, want %v", tt.weights, counts[1:], tt.counts)
		}
	}
}

func TestMHPicks(t *testing.T) {
	m := newScheduler(t, "mh").(*mh)
	list := service(m, 1, 1, 1)
	for _, tt := range []struct {
		client         string
		slot, portSlot uint32 // the latter with port 40000
		server         int
	}{
		{"10.0.0.1", 3711, 2940, 2},
		{"10.0.0.2", 1884, 273, 3},
		{"192.168.1.100", 1341, 1689, 2},
	} {
		req := &Request{Client: addr(tt.client), ClientPort: 40000}
		if got := number(m.Pick(list, req)); got != tt.server || m.slots[tt.slot] != list[3-got] {
			t.Errorf("%s goes to %d, want %d", tt.client, got, tt.server)
		}
		if got := sipHash13(source(req), mhKey1) % m.size; got != tt.slot {
			t.Errorf("%s hashes to slot %d, want %d", tt.client, got, tt.slot)
		}
		req.Flags = withPort
		if got := sipHash13(source(req), mhKey1) % m.size; got != tt.portSlot {
			t.Errorf("%s port 40000 hashes to slot %d, want %d", tt.client, got, tt.portSlot)
		}
	}
}

// Quiescing a server leaves the table as it is; one that never had a weight has
// no slot.
func TestMHQuiesced(t *testing.T) {
	m := newScheduler(t, "mh").(*mh)
	list := service(m, 1, 2, 0)
	before := slices.Clone(m.slots)
	if slices.Contains(before, list[0]) {
		t.Error("a server added with weight 0 has slots")
	}
	list[1].Weight = 0
	m.Changed(Edit, list[1], 1, list)
	if !slices.Equal(before, m.slots) {
		t.Error("an edit to weight 0 changed the table")
	}
}

// A list longer than the table leaves it in force, but for servers that left.
func TestMHTooManyServers(t *testing.T) {
	s, err := NewWith("mh", Options{MHTableSize: 251})
	if err != nil {
		t.Fatal(err)
	}
	weights := make([]int32, 251)
	for i := range weights {
		weights[i] = 1
	}
	list := service(s, weights...)
	req := &Request{}
	picked := s.Pick(list, req)
	if picked == nil {
		t.Fatal("none picked of 251 servers in 251 slots")
	}
	list = append(list, &Server{Weight: 1, LastWeight: 1, Available: true})
	s.Changed(Add, list[251], 0, list)
	if got := s.Pick(list, req); got != picked {
		t.Error("the 252nd server changed a pick")
	}
	picked.Available = false
	if got := s.Pick(list, req); got != nil {
		t.Error("picked a deleted server")
	}
}

func TestRegistry(t *testing.T) {
	want := []string{"dh", "fo", "lblc", "lblcr", "lc", "lrt", "mh", "nq", "ovf", "rr", "sed", "sh", "twos", "wlc", "wrr"}
	if got := Names(); !slices.Equal(got, want) {
		t.Errorf("Names() = %v, want %v", got, want)
	}
	_, err := New("wlcx")
	var unknown *UnknownError
	if !errors.As(err, &unknown) || unknown.Name != "wlcx" {
		t.Errorf("New of an unknown name: %v", err)
	}
	s := newScheduler(t, None)
	if got := s.Pick(service(s, 1), &Request{}); got != nil {
		t.Errorf("none picked %d", number(got))
	}
	for _, o := range []Options{{MHTableSize: 4092}, {MHTableSize: -1}, {CacheExpiration: -time.Second}, {HalfLife: -1}, {HalfLife: time.Microsecond}, {HalfLife: 25 * time.Hour}} {
		if _, err := NewWith("mh", o); err == nil {
			t.Errorf("NewWith accepted %+v", o)
		}
	}
	for _, size := range mhSizes {
		s, err := NewWith("mh", Options{MHTableSize: size})
		if err != nil {
			t.Fatal(err)
		}
		service(s, 1, 2)
		if slots := s.(*mh).slots; len(slots) != size || slices.Contains(slots, nil) {
			t.Errorf("mh of %d slots has %d, or leaves some empty", size, len(slots))
		}
	}
}

func TestTwosSeed(t *testing.T) {
	sequence := func(seed uint64) []int {
		s, err := NewWith("twos", Options{Seed: seed})
		if err != nil {
			t.Fatal(err)
		}
		list := service(s, 1, 2, 3)
		var picks []*Server
		for range 100 {
			picks = append(picks, s.Pick(list, &Request{}))
		}
		return numbers(picks)
	}
	if !slices.Equal(sequence(1), sequence(1)) {
		t.Error("equal seeds, different picks")
	}
	if slices.Equal(sequence(1), sequence(2)) {
		t.Error("different seeds, equal picks")
	}
}
