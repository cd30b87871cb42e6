package sched

import (
	"net/netip"
	"strconv"
)

// Account is what a scheduler's next pick depends on, for who asks why.
type Account struct {
	// Rule says in one line what decides, with what of the scheduler's own state
	// counts.
	Rule string
	// Compared says what the standings' values are; "" if nothing is compared.
	// The least value wins, or with Greatest the greatest; of equal ones the first
	// in list order.
	Compared string
	Greatest bool
	// Standings are one for each server, in list order.
	Standings []Standing
}

// Standing is how one server stands for a pick.
type Standing struct {
	Server  *Server
	Refusal Refusal
	// Value is what is compared, if Counts.
	Value  float64
	Counts bool
	// Note is what else there is to say, in a few words.
	Note string
}

// Refusal says why a server cannot be picked. Being worse than another is no
// refusal.
type Refusal uint8

// The refusals. The zero value is none.
const (
	_            Refusal = iota
	NoWeight             // its weight is 0
	TooMany              // at its upper threshold, or not yet below its lower one again
	Deleted              // was deleted from its service
	Full                 // has more active connections than its weight (ovf)
	Elsewhere            // the scheduler's table names other servers (dh, sh, mh, lblc, lblcr)
	NotDrawn             // was not one of the two drawn (twos)
	Waits                // another goes first, that is due for a trial (lrt)
	refusalNames         // how many there are
)

// String returns a refusal in a few words, "" for none.
func (r Refusal) String() string {
	if r >= refusalNames {
		return "invalid"
	}
	return [refusalNames]string{
		NoWeight:  "weight 0",
		TooMany:   "overloaded",
		Deleted:   "deleted",
		Full:      "more active than its weight",
		Elsewhere: "the table names another",
		NotDrawn:  "not drawn",
		Waits:     "another is due for a trial",
	}[r]
}

// refusal returns why the server cannot be given any connection.
func (s *Server) refusal() Refusal {
	switch {
	case !s.Available:
		return Deleted
	case s.Weight <= 0:
		return NoWeight
	case s.Overloaded.Load():
		return TooMany
	}
	return 0
}

// account returns an account in which each server that can be given a connection
// has the value that f says, if it says one.
func account(list []*Server, rule, compared string, f func(s *Server) (value float64, counts bool)) Account {
	a := Account{Rule: rule, Compared: compared, Standings: make([]Standing, len(list))}
	for i, s := range list {
		st := &a.Standings[i]
		st.Server, st.Refusal = s, s.refusal()
		if st.Refusal == 0 {
			st.Value, st.Counts = f(s)
		}
	}
	return a
}

// of returns a server's standing, or nil.
func (a *Account) of(s *Server) *Standing {
	for i := range a.Standings {
		if a.Standings[i].Server == s {
			return &a.Standings[i]
		}
	}
	return nil
}

// elsewhere refuses those that could be picked and whose value does not count.
func (a *Account) elsewhere() {
	for i := range a.Standings {
		if st := &a.Standings[i]; st.Refusal == 0 && !st.Counts {
			st.Refusal = Elsewhere
		}
	}
}

// perWeight is a load by weight, for who reads it: what is compared is exact.
func perWeight(load int64, s *Server) (float64, bool) { return float64(load) / float64(s.Weight), true }

// Copy makes o, which nobody knows yet, a server that stands as s does. It is
// called with the lock of s's service. What lrt has measured goes along as far as
// picks look at it.
func (s *Server) Copy(o *Server) {
	o.Weight, o.LastWeight, o.Available = s.Weight, s.LastWeight, s.Available
	o.Addr, o.Port, o.ID = s.Addr, s.Port, s.ID
	o.Overloaded.Store(s.Overloaded.Load())
	o.Active.Store(s.Active.Load())
	o.Total.Store(s.Total.Load())
	s.response.copy(&o.response)
}

// String returns the server's address and port.
func (s *Server) String() string {
	a := netip.AddrFrom16(s.Addr).Unmap()
	if s.Port == 0 {
		return a.String()
	}
	return netip.AddrPortFrom(a, s.Port).String()
}

func count(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.FormatInt(n, 10) + " " + what + "s"
}
