package nat

import (
	"slices"
	"sync"
	"sync/atomic"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nic"
)

const (
	// portTries is how many ports of a pool are tried for a connection, shared out
	// among its addresses; fewTries is the least of each. Ports are tried in a row, and
	// those that come next are the ones that were given away longest ago.
	portTries = 256
	fewTries  = 32
	// overRest is how long a connection must have been over for another one to take
	// its port, in nanoseconds, when there is no other port.
	overRest = 1e9
)

// takePort gives the connection, whose server is known, an address and port of the
// pool. hop is the way to the server. It reports false if there is none. The shard
// s is locked.
func (w *Worker) takePort(j *job, s *conntrack.Shard, c *conntrack.Conn, pool *portPool, hop *nic.Hop) bool {
	if pool == nil {
		return false
	}
	addrs := pool.addrs
	if len(addrs) == 0 {
		if hop.Src == (Addr{}) {
			return false
		}
		w.source[0] = hop.Src
		addrs = w.source[:]
	}
	// A client has the same address as long as there are ports on it, as RFC 4787
	// section 4.1 wants, and begins at a place among the ports that is not to be
	// guessed (RFC 6056, section 3.3.3).
	first := int(uint32(w.e.table.Hash(0, c.Client, 0)) % uint32(len(addrs)))
	w.nextPort++
	place := uint32(w.e.table.Hash(c.Proto, c.Dest, c.DestPort)>>16) + w.nextPort
	tries := min(pool.count, uint32(max(portTries/len(addrs), fewTries)))
	for _, taken := range [...]bool{false, true} {
		for i := range addrs {
			local := addrs[(first+i)%len(addrs)]
			if !w.snap.locals.has(&local) {
				w.e.learn(local)
				continue
			}
			if !slices.Contains(w.snap.ranges, pool.at(&local)) {
				continue // there was no room for it: the host would answer what comes back
			}
			if is4(&local) != is4(&c.Dest) {
				continue
			}
			for n := range tries {
				port := pool.first + uint16((place+n)%pool.count)
				if w.portTaken(c.Proto, local, port) {
					continue
				}
				if taken {
					if next, ok := s.TakePortOver(c, local, port, w.now-overRest); ok {
						w.nextPort += n
						succeed(j, s, c, next)
						return true
					}
				} else if s.TakePort(c, local, port, w.now) {
					w.nextPort += n
					return true
				}
			}
		}
		if c.Proto != ProtoTCP {
			break
		}
	}
	w.nextPort += tries
	return false
}

// portTaken reports whether a service has the port.
func (w *Worker) portTaken(proto uint8, addr Addr, port uint16) bool {
	return w.snap.vips.has(&addr) && has(w.snap.owned, Endpoint{Proto: proto, Addr: addr, Port: port})
}

// finished reports whether a connection is over, so that its port is another's
// if need be.
func finished(c *conntrack.Conn) bool { return over(c.Proto, c.State) }

// over is finished for a connection of that protocol in that state.
func over(proto, st uint8) bool {
	return proto == ProtoTCP && (state.TCP(st) == state.TCPTimeWait || state.TCP(st) == state.TCPClose)
}

// notePort tells the book of ports that the connection is over, or is not after
// all; was is its state before the packet.
func (w *Worker) notePort(s *conntrack.Shard, c *conntrack.Conn, was uint8) {
	if is := finished(c); is != over(c.Proto, was) {
		s.NotePort(c, is, w.now)
	}
}

// learnedAddrs are the addresses that routes chose for packets of pools without
// addresses and that are not owned yet.
type learnedAddrs struct {
	mu  sync.Mutex
	all []Addr
	due atomic.Bool // one was added
}

// learn notes an address that is to be owned. The connection that wanted it does
// without.
func (e *Engine) learn(a Addr) {
	e.learnt.mu.Lock()
	defer e.learnt.mu.Unlock()
	if len(e.learnt.all) < maxLocals && !slices.Contains(e.learnt.all, a) {
		e.learnt.all = append(e.learnt.all, a)
		e.learnt.due.Store(true)
	}
}

// learned returns those addresses that are the host's own.
func (e *Engine) learned() (all []Addr) {
	e.learnt.mu.Lock()
	defer e.learnt.mu.Unlock()
	routes := e.routes.Load()
	e.learnt.all = slices.DeleteFunc(e.learnt.all, func(a Addr) bool { return !routes.Local(a) })
	return slices.Clone(e.learnt.all)
}
