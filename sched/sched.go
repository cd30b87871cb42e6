package sched

import "sync/atomic"

// Addr is an IP address in 16 bytes, network byte order, IPv4 IPv4-mapped.
type Addr = [16]byte

// Server is what schedulers see of a real server. The counters change at any
// time, the other fields only under the service's lock.
//
// What a scan of the list reads of each server comes first: 16 bytes that lie in
// one cache line wherever an allocated Server begins, then those of lrt.
type Server struct {
	// Weight is 0 for a quiesced server.
	Weight int32
	// Overloaded is set while Total is at or above the upper threshold, until
	// it falls below the lower.
	Overloaded atomic.Bool
	// Active counts connections in an active state, Total all bound
	// connections but templates (the kernel's activeconns and total of 6.1.183
	// and later).
	Active, Total atomic.Int32

	response response // what lrt has measured; no other scheduler looks at it

	// ID is the owner's number of the server; schedulers leave it alone.
	ID   uint32
	Addr Addr
	Port uint16 // host byte order
	// LastWeight is the weight before it was edited to 0; equal to Weight
	// otherwise (spec of the kernel's last_weight; only mh reads it).
	LastWeight int32
	// Available is false once the server was deleted from its service.
	Available bool
}

// Usable reports whether a new connection may be given to the server.
func (s *Server) Usable() bool { return s.Weight > 0 && !s.Overloaded.Load() }

// Overhead is the load that lc, wlc, lblc, lblcr and twos compare:
// 256 active + total (ip_vs_dest_conn_overhead, 6.1.183 and later).
func (s *Server) Overhead() int64 {
	return int64(s.Active.Load())<<8 + int64(s.Total.Load())
}

// Flags are a service's scheduler flags in the kernel's numbering shifted down
// to bit 0: what they mean is the scheduler's affair.
type Flags uint8

// The scheduler flags (IP_VS_SVC_F_SCHED1 to 3).
const (
	Flag1 Flags = 1 << iota // sh-fallback, mh-fallback
	Flag2                   // sh-port, mh-port
	Flag3
)

// Request is the packet a server is wanted for. Ports are in host byte order
// and 0 where the protocol has none.
type Request struct {
	Client     Addr // the packet's source; for an ICMP error the embedded packet's destination
	Virtual    Addr // the packet's destination
	ClientPort uint16
	Flags      Flags
	Now        int64 // nanoseconds on the caller's clock
}

// Op says what happened to a service's list of servers.
type Op uint8

// The changes. The zero value is invalid.
const (
	_      Op = iota
	Add       // a server joined, at the head of the list
	Edit      // weight or thresholds of a server changed
	Delete    // a server left the list
)

// Scheduler picks servers for one service. list is the service's servers in
// list order, newest first as in the kernel; it is never changed in place.
type Scheduler interface {
	// Init builds the state from the list, for a new service or one that
	// changed to this scheduler.
	Init(list []*Server)
	// Changed follows a change: list is the list after it, s the server that
	// joined, changed or left, and for Delete at is the index it stood at.
	Changed(op Op, s *Server, at int, list []*Server)
	// Pick returns a server of list, or nil when none can take the request. For
	// a caller that works on a snapshot, list may be an older one than that of
	// the last Changed; the server may then be of either list, and deleted. Pick
	// keeps no reference to req: callers use one again and again, for a new one
	// would be allocated at each call of an interface.
	Pick(list []*Server, req *Request) *Server
	// Clone returns a scheduler in this one's state: from now on it picks what this
	// one would, of the servers that twin returns for this one's. What happens to
	// either is not seen by the other. It does not change this one.
	Clone(twin func(*Server) *Server) Scheduler
	// Explain accounts for what Pick would return now. It changes nothing, and may
	// take its time.
	Explain(list []*Server, req *Request) Account
}

// Limited is a scheduler that serves a bounded number of servers. Init with
// more leaves it with none to pick.
type Limited interface {
	Scheduler
	// MaxServers returns the bound.
	MaxServers() int
}

// Observer is a scheduler that learns how fast servers answer. Unlike every
// other method, Observe is called without the service's lock, by any number of
// workers at a time and beside Pick: it never waits and never allocates.
type Observer interface {
	Scheduler
	// Observe tells of a server, listed or not, that at now its answer to a
	// connection's first packet came rtt after that packet. Both are nanoseconds
	// on the clock of Request.Now. A clock that is read once for many packets
	// makes rtt wrong by the time those take, either way: it may even be 0 or
	// less.
	Observe(s *Server, rtt, now int64)
}
