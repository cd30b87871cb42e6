package conformance

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Difference is the first step after which the two sides are not the same.
type Difference struct {
	Step   int      `json:"step"` // from 1
	Text   string   `json:"text"` // the step in words
	What   []string `json:"what"` // what is different, the kernel's first
	Before []string `json:"before,omitempty"`
	// Kernel and Engine are both sides' servers of the service that the step
	// concerned, after it.
	Kernel []Server `json:"kernel,omitempty"`
	Engine []Server `json:"engine,omitempty"`
}

// expirySlack is by how many seconds the remaining time of a connection may
// differ: the kernel counts in its own ticks, and steps take some time.
const expirySlack = 2

// Compare has o do the run at the times at which the kernel did it, and returns
// the first difference, or nil.
func Compare(r *Run, kernel []Seen, o Oracle) (*Difference, error) {
	if len(kernel) != len(r.Steps) {
		return nil, fmt.Errorf("conformance: %d steps were recorded, the run has %d", len(kernel), len(r.Steps))
	}
	picks, unsure := picks{}, newUnsure()
	for i := range r.Steps {
		theirs := kernel[i]
		ours, err := o.Do(&r.Steps[i], theirs.At)
		if err != nil {
			return nil, fmt.Errorf("conformance: step %d (%s): %w", i+1, &r.Steps[i], err)
		}
		unsure.after(&r.Steps[i], &theirs)
		unsure.forget(theirs.All)
		unsure.forget(ours.All)
		kernelServers, engineServers := theirs.Servers, ours.Servers
		if r.Config.random() {
			picks.count(&r.Steps[i], &theirs, &ours)
			theirs, ours = blur(theirs), blur(ours)
		}
		what, conns := differ(&theirs, &ours)
		if i == len(r.Steps)-1 && len(what) == 0 {
			what = picks.unlike()
		}
		if len(what) > 0 {
			return &Difference{
				Step: i + 1, Text: r.Steps[i].String(), What: what, Before: before(r.Steps, i, conns),
				Kernel: kernelServers, Engine: engineServers,
			}, nil
		}
	}
	return nil, nil
}

// differ returns what is different, in words, and the clients of connections
// that are.
func differ(theirs, ours *Seen) (what []string, clients []netip.AddrPort) {
	note := func(name string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			what = append(what, fmt.Sprintf("%s: kernel %s, vsnat %s", name, orNothing(x), orNothing(y)))
		}
	}
	note("refused with", theirs.Refused, ours.Refused)
	note("nothing to answer", theirs.Idle, ours.Idle)
	note("packets", strings.Join(theirs.Out, "; "), strings.Join(ours.Out, "; "))
	what = append(what, differServers("", theirs.Servers, ours.Servers)...)
	if theirs.All == nil || ours.All == nil {
		note("everything listed", theirs.All != nil, ours.All != nil)
		return what, nil
	}
	a, b := theirs.All, ours.All
	for i := range max(len(a.Services), len(b.Services)) {
		if i >= len(a.Services) || i >= len(b.Services) || a.Services[i].Key != b.Services[i].Key {
			return append(what, fmt.Sprintf("services: kernel %v, vsnat %v", keys(a), keys(b))), nil
		}
		key := a.Services[i].Key
		note(key+": counters", a.Services[i].Counters, b.Services[i].Counters)
		what = append(what, differServers(key+": ", a.Services[i].Servers, b.Services[i].Servers)...)
	}
	conns, clients := differConns(a.Conns, b.Conns)
	return append(what, conns...), clients
}

func orNothing(s string) string {
	if s == "" {
		return "nothing"
	}
	return s
}

func keys(s *State) (all []string) {
	for i := range s.Services {
		all = append(all, s.Services[i].Key)
	}
	return all
}

func differServers(where string, theirs, ours []Server) (what []string) {
	for i := range max(len(theirs), len(ours)) {
		var a, b string
		if i < len(theirs) {
			a = theirs[i].String()
		}
		if i < len(ours) {
			b = ours[i].String()
		}
		if a != b {
			what = append(what, fmt.Sprintf("%sserver %d: kernel %s, vsnat %s", where, i+1, orNothing(a), orNothing(b)))
		}
	}
	return what
}

// String returns the server's figures in a line.
func (s *Server) String() string {
	text := fmt.Sprintf("%s weight %d active %d inactive %d persistent %d", s.Key, s.Weight, s.Active, s.Inactive, s.Persistent)
	if s.Upper != 0 || s.Lower != 0 {
		text += fmt.Sprintf(" upper %d lower %d", s.Upper, s.Lower)
	}
	if c := s.Counters; c.Conns != 0 || c.InPkts != 0 || c.OutPkts != 0 {
		text += fmt.Sprintf(" conns %d in %d/%d out %d/%d", c.Conns, c.InPkts, c.InBytes, c.OutPkts, c.OutBytes)
	}
	return text
}

// differConns compares entries, both lists sorted, their timers with
// [expirySlack]. Ten lines suffice.
func differConns(theirs, ours []Conn) (what []string, clients []netip.AddrPort) {
	const most = 10
	for len(what) < most && (len(theirs) > 0 || len(ours) > 0) {
		order := 0
		switch {
		case len(ours) == 0:
			order = -1
		case len(theirs) == 0:
			order = 1
		default:
			a, b := theirs[0], ours[0]
			if d := a.Expires - b.Expires; d >= -expirySlack && d <= expirySlack {
				a.Expires, b.Expires = 0, 0
			}
			order = a.compare(&b)
		}
		if order < 0 {
			what = append(what, "connection only in the kernel: "+theirs[0].String())
			clients = append(clients, theirs[0].Client)
		} else if order > 0 {
			what = append(what, "connection only in vsnat: "+ours[0].String())
			clients = append(clients, ours[0].Client)
		}
		if order <= 0 {
			theirs = theirs[1:]
		}
		if order >= 0 {
			ours = ours[1:]
		}
	}
	return what, clients
}

// String returns the entry as ipvsadm -Lnc shows it.
func (c *Conn) String() string {
	return fmt.Sprintf("%s %02d:%02d %s %s %s %s", c.Proto, c.Expires/60, c.Expires%60, c.State, c.Client, c.Virtual, c.Dest)
}

// beforeSteps is how many steps of those that led to a difference are shown:
// of the connections concerned, and of their service and the settings.
const beforeSteps = 12

func before(steps []Step, i int, clients []netip.AddrPort) (all []string) {
	if c := steps[i].Packet.Client; c.IsValid() {
		clients = append(clients, c)
	}
	conns, others := 0, 0
	for j := i - 1; j >= 0; j-- {
		s := &steps[j]
		switch {
		case slices.ContainsFunc(clients, func(c netip.AddrPort) bool {
			return c == s.Packet.Client || c.Port() == 0 && c.Addr() == s.Packet.Client.Addr()
		}):
			conns++
			if conns > beforeSteps {
				continue
			}
		case s.Op == Set || s.Op == Flush || s.Op == Rest || s.Service.Key == steps[i].Service.Key:
			others++
			if others > beforeSteps {
				continue
			}
		default:
			continue
		}
		all = append(all, fmt.Sprintf("%d: %s", j+1, s))
	}
	slices.Reverse(all)
	return all
}
