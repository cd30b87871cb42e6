package sched

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// BenchmarkPick measures a pick among some servers that all have connections.
func BenchmarkPick(b *testing.B) {
	for _, name := range Names() {
		for _, n := range []int{4, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s := newScheduler(b, name)
				random := rand.New(rand.NewPCG(1, 2))
				servers := busyServers(random, n)
				s.Init(servers)
				reqs := make([]Request, 1024)
				for i := range reqs {
					reqs[i] = Request{Client: destination(random.Uint32N(1 << 24)), Virtual: destination(uint32(i)), Now: 1}
				}
				observer, _ := s.(Observer)
				for _, sv := range servers {
					if observer != nil {
						observer.Observe(sv, random.Int64N(int64(time.Second)), 1)
					}
				}
				b.ReportAllocs()
				var i int
				for b.Loop() {
					picked := s.Pick(servers, &reqs[i%1024])
					if observer != nil {
						observer.Observe(picked, int64(time.Millisecond), 1)
					}
					i++
				}
			})
		}
	}
}

// busyServers all have connections, but not so many that ovf finds none.
func busyServers(random *rand.Rand, n int) []*Server {
	servers := make([]*Server, n)
	for i := range servers {
		s := &Server{Addr: addr("192.168.0.0"), Port: 80, Weight: 1 + int32(i%5), Available: true}
		s.Addr[14], s.Addr[15] = byte(i>>8), byte(i)
		s.LastWeight = s.Weight
		s.Active.Store(1 + random.Int32N(s.Weight))
		s.Total.Store(s.Active.Load())
		servers[i] = s
	}
	return servers
}

// BenchmarkChanged measures what an edit of one of 1,000 servers costs while the
// service's picks wait.
func BenchmarkChanged(b *testing.B) {
	change := func(b *testing.B, s Scheduler) {
		servers := busyServers(rand.New(rand.NewPCG(1, 2)), 1000)
		s.Init(servers)
		for b.Loop() {
			s.Changed(Edit, servers[500], 500, servers)
		}
	}
	for _, name := range Names() {
		if name != "mh" {
			b.Run(name, func(b *testing.B) { change(b, newScheduler(b, name)) })
			continue
		}
		for _, size := range mhSizes {
			b.Run(fmt.Sprintf("mh/%d", size), func(b *testing.B) {
				s, err := NewWith("mh", Options{MHTableSize: size})
				if err != nil {
					b.Fatal(err)
				}
				change(b, s)
			})
		}
	}
}
