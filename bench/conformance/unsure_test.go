package conformance

import (
	"net/netip"
	"testing"

	"vsnat/nat"
)

// What is uncertain about a server that comes back stays so over -Z as long as the
// server is deleted: the kernel leaves those alone.
func TestUnsureOverZero(t *testing.T) {
	k := nat.ServiceKey{Proto: nat.ProtoTCP, Addr: vip(1).As16(), Port: 80}
	server := netip.AddrPortFrom(realServer(1), 80)
	step := func(op Op) Step {
		return Step{Op: op, Service: nat.ServiceSpec{Key: k, Scheduler: "rr"}, Server: nat.ServerSpec{Key: nat.ServerKey{Addr: server.Addr().As16(), Port: 80}}}
	}
	unsureAfter := func(ops ...Op) bool {
		u := newUnsure()
		for _, op := range append([]Op{AddService, AddServer, DeleteService, AddService, AddServer}, ops...) {
			s := step(op)
			u.after(&s, &Seen{})
		}
		all := &State{Services: []Service{{Key: keyWords(k) + " -s rr", Servers: []Server{{Key: server, Counters: nat.Counters{Conns: 1}}}}}}
		u.forget(all)
		return all.Services[0].Servers[0].Counters == nat.Counters{}
	}
	for _, c := range []struct {
		ops  []Op
		want bool
	}{
		{nil, true},
		{[]Op{Zero}, false},
		{[]Op{DeleteServer, Zero, AddServer}, true},
		{[]Op{DeleteService, Zero, AddService, AddServer}, true},
		{[]Op{DeleteServer, Zero, AddServer, Zero}, false},
	} {
		if got := unsureAfter(c.ops...); got != c.want {
			t.Errorf("%v: %t", c.ops, got)
		}
	}
}
