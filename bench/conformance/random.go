package conformance

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"vsnat/nat"
)

// A scheduler that draws its picks cannot be compared pick by pick. Its runs
// are made so that nothing but the picks depends on them (see [Config]), and of
// the picks the numbers are compared.

// blur takes from what was seen all that depends on which server was picked.
func blur(s Seen) Seen {
	out := make([]string, len(s.Out))
	for i, o := range s.Out {
		out[i], _, _ = strings.Cut(o, ":")
	}
	s.Real, s.Out, s.Servers = netip.AddrPort{}, out, sum(s.Servers)
	if s.All == nil {
		return s
	}
	all := State{Services: slices.Clone(s.All.Services), Conns: slices.Clone(s.All.Conns)}
	for i := range all.Services {
		all.Services[i].Servers = sum(all.Services[i].Servers)
	}
	for i := range all.Conns {
		all.Conns[i].Dest = netip.AddrPort{}
	}
	all.sort()
	s.All = &all
	return s
}

// sum makes one of all servers.
func sum(list []Server) []Server {
	if len(list) == 0 {
		return nil
	}
	var all Server
	for i := range list {
		s := &list[i]
		all.Weight += s.Weight
		all.Active += s.Active
		all.Inactive += s.Inactive
		all.Persistent += s.Persistent
		all.Counters.Conns += s.Counters.Conns
		all.Counters.InPkts += s.Counters.InPkts
		all.Counters.OutPkts += s.Counters.OutPkts
		all.Counters.InBytes += s.Counters.InBytes
		all.Counters.OutBytes += s.Counters.OutBytes
	}
	return []Server{all}
}

// picks are how often each server of each service got a connection's first
// packet, in the kernel and in vsnat.
type picks map[pickOf][2]int

type pickOf struct {
	service nat.ServiceKey
	server  netip.AddrPort
}

func (p picks) count(s *Step, seen ...*Seen) {
	if s.Op != FromClient || s.Packet.Proto != nat.ProtoUDP && !s.Packet.begins() {
		return
	}
	for i := range seen {
		if seen[i].Real.IsValid() {
			k := pickOf{s.Service.Key, seen[i].Real}
			n := p[k]
			n[i]++
			p[k] = n
		}
	}
}

// unlike returns the servers whose numbers of picks differ by more than five
// standard deviations.
func (p picks) unlike() (what []string) {
	for k, n := range p {
		if d := math.Abs(float64(n[0] - n[1])); d > 5*math.Sqrt(float64(n[0]+n[1])) {
			what = append(what, fmt.Sprintf("picks of %s for %s: kernel %d, vsnat %d", k.server, k.service, n[0], n[1]))
		}
	}
	slices.Sort(what)
	return what
}
