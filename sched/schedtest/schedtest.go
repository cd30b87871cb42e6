// Package schedtest holds the laws that every scheduler keeps, as a test that
// any of them can be put to.
package schedtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"vsnat/sched"
)

// Subject is a scheduler under test and what is particular to it.
type Subject struct {
	// New makes one, without Init.
	New func() sched.Scheduler
	// Flags are those of every request.
	Flags sched.Flags
	// MayFail is for schedulers that may find no server though one is usable.
	MayFail bool
	// PicksOverloaded is for schedulers that may pick an overloaded server.
	PicksOverloaded bool

	// Shares gives the part of many picks that servers of these weights, in
	// list order, should get. What they lack of 1 is for picks that find none.
	Shares func(weights []int32) []float64
	// Open is how many connections are open at a time while shares are counted:
	// before each further pick the oldest is closed.
	Open int
	// Tolerance is the greatest difference between a share and its due.
	Tolerance float64
}

// Run puts the subject to all tests, each a subtest.
func Run(t *testing.T, s Subject) {
	for _, law := range laws {
		t.Run(law.name, func(t *testing.T) {
			if err := law.check(s); err != nil {
				t.Error(err)
			}
		})
	}
}

var laws = []struct {
	name  string
	check func(Subject) error
}{
	{"empty", checkEmpty},
	{"quiesced", checkQuiesced},
	{"overloaded", checkOverloaded},
	{"changes", checkChanges},
	{"older lists", checkOlderLists},
	{"foresight", checkForesight},
	{"shares", checkShares},
	{"allocations", checkAllocations},
}

const (
	picks = 1_000_000
	// clients and destinations of the requests; caches hold one entry for each
	// of the latter.
	clients      = 1 << 16
	destinations = 1 << 10
)

// bench is a service with one scheduler.
type bench struct {
	subject Subject
	sched   sched.Scheduler
	list    []*sched.Server
	random  *rand.Rand
	req     sched.Request
	made    uint32 // servers made so far

	deleted []*sched.Server
	open    []*sched.Server // one for each open connection
}

func newBench(s Subject) *bench {
	b := &bench{subject: s, sched: s.New(), random: rand.New(rand.NewPCG(1, 2))}
	b.sched.Init(nil)
	b.req.Flags = s.Flags
	return b
}

// add adds a server of an address never used before, unless it has one.
func (b *bench) add(s *sched.Server, weight int32) {
	if s.Addr == (sched.Addr{}) {
		b.made++
		s.Addr, s.Port = ipv4(10<<24|b.made), 80
	}
	s.Weight, s.LastWeight, s.Available = weight, weight, true
	b.list = slices.Insert(slices.Clone(b.list), 0, s)
	b.sched.Changed(sched.Add, s, 0, b.list)
}

func (b *bench) edit(at int, weight int32) {
	s := b.list[at]
	s.Weight = weight
	if weight != 0 {
		s.LastWeight = weight
	}
	b.sched.Changed(sched.Edit, s, at, b.list)
}

func (b *bench) delete(at int) *sched.Server {
	s := b.list[at]
	s.Available = false
	b.list = slices.Delete(slices.Clone(b.list), at, at+1)
	b.sched.Changed(sched.Delete, s, at, b.list)
	return s
}

// pick asks for a server for a random client and destination.
func (b *bench) pick() *sched.Server {
	b.next()
	return b.sched.Pick(b.list, &b.req)
}

// next makes another request.
func (b *bench) next() {
	b.req.Client = ipv4(b.random.Uint32N(clients) * 0x10001)
	b.req.ClientPort = uint16(b.random.Uint32())
	b.req.Virtual = ipv4(192<<24 | b.random.Uint32N(destinations))
	b.req.Now += int64(time.Millisecond)
}

// hear tells a scheduler that observes that the server answered.
func (b *bench) hear(s *sched.Server, rtt time.Duration) {
	if o, ok := b.sched.(sched.Observer); ok && s != nil {
		o.Observe(s, int64(rtt), b.req.Now)
	}
}

// tick has a scheduler with a cache do what is due.
func (b *bench) tick() {
	if c, ok := b.sched.(sched.Cache); ok {
		c.Tick(b.req.Now)
	}
}

// judge says what is wrong with a pick.
func (b *bench) judge(s *sched.Server) error {
	if s == nil {
		if !b.subject.MayFail && slices.ContainsFunc(b.list, (*sched.Server).Usable) {
			return errors.New("none picked though one is usable")
		}
		return nil
	}
	switch {
	case !slices.Contains(b.list, s):
		return fmt.Errorf("picked %v, which is not in the list", s.Addr)
	case !s.Available:
		return fmt.Errorf("picked %v, which is deleted", s.Addr)
	case s.Weight <= 0:
		return fmt.Errorf("picked %v, which has weight %d", s.Addr, s.Weight)
	case s.Overloaded.Load() && !b.subject.PicksOverloaded:
		return fmt.Errorf("picked %v, which is overloaded", s.Addr)
	}
	return nil
}

func checkEmpty(subject Subject) error {
	b := newBench(subject)
	for range 10 {
		if s := b.pick(); s != nil {
			return fmt.Errorf("picked %v from an empty list", s.Addr)
		}
	}
	b.add(new(sched.Server), 1)
	b.delete(0)
	if s := b.pick(); s != nil {
		return fmt.Errorf("picked %v from a list that became empty", s.Addr)
	}
	return nil
}

func checkQuiesced(subject Subject) error {
	b := newBench(subject)
	for weight := range int32(6) {
		b.add(new(sched.Server), weight)
	}
	for at := range b.list {
		for range 1000 {
			if err := b.judge(b.pick()); err != nil {
				return fmt.Errorf("with %d of weight 0: %w", at+1, err)
			}
		}
		b.edit(at, 0)
	}
	if s := b.pick(); s != nil {
		return fmt.Errorf("picked %v when all have weight 0", s.Addr)
	}
	return nil
}

func checkOverloaded(subject Subject) error {
	b := newBench(subject)
	for weight := range int32(5) {
		b.add(new(sched.Server), weight+1)
	}
	// Nothing is picked before the flag is set: caches stay empty, so that even
	// those that use a cached server whatever its flag pick none.
	subject.PicksOverloaded = false
	for n := range b.list {
		for i, s := range b.list {
			s.Overloaded.Store(i <= n)
		}
		b.sched.Init(b.list)
		for range 1000 {
			if err := b.judge(b.pick()); err != nil {
				return fmt.Errorf("with %d overloaded: %w", n+1, err)
			}
		}
	}
	if s := b.pick(); s != nil {
		return fmt.Errorf("picked %v when all are overloaded", s.Addr)
	}
	return nil
}

// checkChanges adds, edits and deletes servers anywhere in the list, brings
// deleted ones back as the same object or as another of the same address, opens
// and closes connections, has servers answer, deleted ones among them, and
// judges every pick between.
func checkChanges(subject Subject) error {
	b := newBench(subject)
	for step := range 30_000 {
		did := b.happen()
		before := slices.Clone(b.list)
		s := b.pick()
		if err := b.judge(s); err != nil {
			return fmt.Errorf("step %d, after %q, %d servers: %w", step, did, len(b.list), err)
		}
		if !slices.Equal(b.list, before) {
			return fmt.Errorf("step %d: the pick changed the list", step)
		}
		b.opens(s)
	}
	return nil
}

// happen does one thing that may happen to a service, or nothing, and says what.
func (b *bench) happen() (did string) {
	switch n := b.random.IntN(1000); {
	case n < 10 && len(b.list) < 40:
		s := new(sched.Server)
		if len(b.deleted) > 0 && b.random.IntN(2) == 0 {
			i := b.random.IntN(len(b.deleted))
			old := b.deleted[i]
			b.deleted = slices.Delete(b.deleted, i, i+1)
			if b.random.IntN(2) == 0 {
				s = old
			} else {
				s.Addr, s.Port = old.Addr, old.Port
			}
		}
		b.add(s, weight(b.random))
		return "add"
	case n < 18 && len(b.list) > 0:
		b.deleted = append(b.deleted, b.delete(b.random.IntN(len(b.list))))
		return "delete"
	case n < 40 && len(b.list) > 0:
		b.edit(b.random.IntN(len(b.list)), weight(b.random))
		return "edit"
	case n < 80 && len(b.list) > 0:
		s := b.list[b.random.IntN(len(b.list))]
		s.Overloaded.Store(b.random.IntN(4) == 0)
		return "overload"
	case n < 500 && len(b.open) > 0:
		i := b.random.IntN(len(b.open))
		b.open[i].Active.Add(-1)
		b.open[i].Total.Add(-1)
		b.open[i] = b.open[len(b.open)-1]
		b.open = b.open[:len(b.open)-1]
		return "close"
	case n < 800 && len(b.open) > 0:
		rtt := time.Duration(b.random.Int64N(int64(time.Second))) >> b.random.IntN(30)
		b.hear(b.open[b.random.IntN(len(b.open))], rtt-time.Microsecond)
		return "answer"
	case n < 805:
		b.req.Now += b.random.Int64N(int64(time.Minute))
		b.tick()
		return "wait"
	}
	return ""
}

// opens has the server get a connection.
func (b *bench) opens(s *sched.Server) {
	if s != nil {
		s.Active.Add(1)
		s.Total.Add(1)
		b.open = append(b.open, s)
	}
}

// checkOlderLists picks from a list that is some changes old, as a worker does
// that took its snapshot before: the pick is of that list or of the present one.
func checkOlderLists(subject Subject) error {
	b := newBench(subject)
	lists := [][]*sched.Server{nil}
	for step := range 4_000 {
		switch n := b.random.IntN(20); {
		case n < 2 && len(b.list) < 10:
			b.add(new(sched.Server), b.random.Int32N(5))
		case n < 4 && len(b.list) > 0:
			b.delete(b.random.IntN(len(b.list)))
		case n < 6 && len(b.list) > 0:
			b.list[b.random.IntN(len(b.list))].Overloaded.Store(b.random.IntN(2) == 0)
		}
		lists = append(lists, b.list)
		lists = lists[max(0, len(lists)-20):]
		older := *b
		older.list = lists[b.random.IntN(len(lists))]
		s := older.pick()
		b.req.Now = older.req.Now
		if s != nil && !slices.Contains(older.list, s) && !slices.Contains(b.list, s) {
			return fmt.Errorf("step %d: picked %v, which is neither in the list nor in the present one", step, s.Addr)
		}
	}
	return nil
}

// weight is often small, sometimes 0, sometimes as great as can be.
func weight(random *rand.Rand) int32 {
	switch random.IntN(20) {
	case 0, 1, 2:
		return 0
	case 3:
		return math.MaxInt32 - random.Int32N(3)
	case 4:
		return random.Int32()
	default:
		return 10 * random.Int32N(10)
	}
}

func checkShares(subject Subject) error {
	b := newBench(subject)
	for weight := range int32(6) { // one of weight 0, last in the list
		b.add(new(sched.Server), weight)
	}
	b.add(new(sched.Server), 7) // one that leaves again
	b.delete(0)
	counts := map[*sched.Server]int{}
	open := make([]*sched.Server, subject.Open)
	for n := range picks {
		if subject.Open > 0 {
			if oldest := open[n%subject.Open]; oldest != nil {
				oldest.Active.Add(-1)
				oldest.Total.Add(-1)
			}
		}
		s := b.pick()
		if err := b.judge(s); err != nil {
			return fmt.Errorf("pick %d: %w", n, err)
		}
		counts[s]++
		b.hear(s, time.Millisecond)
		if subject.Open > 0 {
			open[n%subject.Open] = s
		}
		if s != nil && subject.Open > 0 {
			s.Active.Add(1)
			s.Total.Add(1)
		}
	}
	var weights []int32
	for _, s := range b.list {
		weights = append(weights, s.Weight)
	}
	due := subject.Shares(weights)
	var got []float64
	var off bool
	for i, s := range b.list {
		got = append(got, float64(counts[s])/picks)
		off = off || math.Abs(got[i]-due[i]) > subject.Tolerance
	}
	if off {
		return fmt.Errorf("weights %v got shares %.4f, due %.4f within %v", weights, got, due, subject.Tolerance)
	}
	return nil
}

func checkAllocations(subject Subject) error {
	b := newBench(subject)
	for weight := range int32(6) {
		b.add(new(sched.Server), weight)
	}
	for range 10 * destinations { // let caches meet every destination
		b.hear(b.pick(), time.Millisecond)
	}
	// A batch in one run: AllocsPerRun rounds down. What the runtime allocates
	// meanwhile counts, too, but not every time.
	least := math.Inf(1)
	for range 5 {
		least = min(least, testing.AllocsPerRun(1, func() {
			for range 1000 {
				b.hear(b.pick(), time.Millisecond)
				b.tick()
			}
		}))
	}
	if least != 0 {
		return fmt.Errorf("1000 picks allocate %v times", least)
	}
	return nil
}

// ipv4 is an IPv4 address as schedulers see it.
func ipv4(a uint32) sched.Addr {
	addr := sched.Addr{10: 0xff, 11: 0xff}
	binary.BigEndian.PutUint32(addr[12:], a)
	return addr
}
