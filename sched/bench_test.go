package sched

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// BenchmarkPick measures a pick among some servers that all have connections.
func BenchmarkPick(b *testing.B) {
	for _, name := range Names() {
		for _, n := range []int{4, 100, 1000} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s := newScheduler(b, name)
				random := rand.New(rand.NewPCG(1, 2))
				servers := make([]*Server, n)
				for i := range servers {
					sv := &Server{Addr: addr("192.168.0.0"), Port: 80, Weight: 1 + int32(i%5), Available: true}
					sv.Addr[14], sv.Addr[15] = byte(i>>8), byte(i)
					sv.LastWeight = sv.Weight
					sv.Active.Store(1 + random.Int32N(sv.Weight)) // ovf finds some
					sv.Total.Store(sv.Active.Load())
					servers[i] = sv
				}
				s.Init(servers)
				reqs := make([]Request, 1024)
				for i := range reqs {
					reqs[i] = Request{Client: destination(random.Uint32N(1 << 24)), Virtual: destination(uint32(i)), Now: 1}
				}
				var i int
				for b.Loop() {
					s.Pick(servers, &reqs[i%1024])
					i++
				}
			})
		}
	}
}
