package conformance

import (
	"maps"
	"net/netip"
	"strings"
	"time"

	"vsnat/nat"
)

// unsure are the servers whose counters cannot be compared. The kernel counts
// in two places and adds up every two seconds; a server that was deleted, and
// comes back with a service that was deleted too, begins with what had not been
// added up when it went, where it should begin with 0. And a deleted server is
// forgotten, counters and all, 120 to 240 seconds after its last connection.
type unsure struct {
	age     map[string]int     // of services by their name: how often they were deleted
	before  map[serverName]int // of servers: the age of their service when they were last added
	deleted map[serverName]time.Duration
	now     map[serverName]bool
	there   map[serverName]bool // those that -Z reaches: it leaves deleted servers alone
}

// kept is how long a deleted server is certainly remembered.
const kept = 115 * time.Second

type serverName struct {
	service string // as [keyWords] has it
	server  netip.AddrPort
}

func newUnsure() *unsure {
	return &unsure{
		age: map[string]int{}, before: map[serverName]int{},
		deleted: map[serverName]time.Duration{}, now: map[serverName]bool{}, there: map[serverName]bool{},
	}
}

// after follows a step.
func (u *unsure) after(s *Step, seen *Seen) {
	if seen.Refused != "" {
		return
	}
	service := keyWords(s.Service.Key)
	name := serverName{service, nat.AddrPort(s.Server.Key.Addr, s.Server.Key.Port)}
	switch s.Op {
	case Zero:
		for name := range u.there {
			delete(u.now, name)
		}
	case Flush:
		clear(u.there)
		for _, k := range wideEndpoints {
			u.age[keyWords(k)]++
			u.age[keyWords(sixKey(k))]++
		}
	case DeleteService:
		u.age[service]++
		maps.DeleteFunc(u.there, func(n serverName, _ bool) bool { return n.service == service })
	case DeleteServer:
		u.deleted[name] = seen.At
		delete(u.there, name)
	case AddServer:
		age, known := u.before[name]
		gone, deleted := u.deleted[name]
		if known && age != u.age[service] || deleted && seen.At-gone > kept {
			u.now[name] = true
		}
		u.before[name], u.there[name] = u.age[service], true
	}
}

// forget takes those servers' counters out of a listing.
func (u *unsure) forget(s *State) {
	if s == nil {
		return
	}
	for i := range s.Services {
		service, _, _ := strings.Cut(s.Services[i].Key, " -s ")
		for j := range s.Services[i].Servers {
			srv := &s.Services[i].Servers[j]
			if u.now[serverName{service, srv.Key}] {
				srv.Counters = nat.Counters{}
			}
		}
	}
}
