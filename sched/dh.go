package sched

import "fmt"

func init() { register("dh", func(Options) Scheduler { return &dh{} }) }

// dhBits gives the table its 256 buckets (IP_VS_DH_TAB_BITS).
const dhBits = 8

// dh is destination hashing (ip_vs_dh.c): a fixed server for each destination
// address, for services by firewall mark, whatever the weights.
type dh struct{ buckets [1 << dhBits]*Server }

func (d *dh) Init(list []*Server) {
	clear(d.buckets[:])
	if len(list) == 0 {
		return
	}
	for i := range d.buckets {
		d.buckets[i] = list[i%len(list)]
	}
}

func (d *dh) Changed(op Op, _ *Server, _ int, list []*Server) {
	if op != Edit { // weights do not matter to the table
		d.Init(list)
	}
}

func (d *dh) Pick(_ []*Server, req *Request) *Server {
	s := d.buckets[hash32(fold(&req.Virtual), dhBits)]
	if s == nil || !hashed(s) {
		return nil
	}
	return s
}

func (d *dh) Clone(twin func(*Server) *Server) Scheduler {
	c := &dh{}
	twins(c.buckets[:], d.buckets[:], twin)
	return c
}

func (d *dh) Explain(list []*Server, req *Request) Account {
	b := hash32(fold(&req.Virtual), dhBits)
	rule := fmt.Sprintf("the server of the destination's bucket, %d of %d", b, len(d.buckets))
	return explainTable(list, rule, func(f func(*Server) bool) { f(d.buckets[b]) })
}
