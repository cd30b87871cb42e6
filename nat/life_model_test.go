package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// The model: what should become of packets, worked out from the words of
// docs/life.md alone.

type modelServer struct {
	addr          netip.AddrPort
	weight        int32
	down, removed bool
	event         LifeEvent
	since         int64 // 0 until the engine was told the time
}

func (s *modelServer) is() LifeEvent {
	switch {
	case s.removed:
		return Removed
	case s.down:
		return Down
	case s.weight == 0:
		return Drain
	}
	return 0
}

// modelConn is a connection, flow or template.
type modelConn struct {
	server  *modelServer
	port    uint16 // the client's; 0 in a template
	expires int64
	closed  bool // TCP: was reset
	givenUp bool // UDP
}

// modelService is a service of one class: TCP, UDP or persistent TCP.
type modelService struct {
	t       Traffic
	key     ServiceKey
	policy  LifePolicy
	servers []*modelServer
	conns   []*modelConn // newest first
	counts  LifeCounters
}

// action returns what is done to traffic of the class at a server.
func (m *modelService) action(s *modelServer, t Traffic, now int64) Action {
	p := m.policy.Of(s.event)
	a := p.First[t]
	if then := p.Then[t]; then != AsKernel && s.since != 0 && now >= s.since+int64(p.Deadline) {
		a = then
	}
	if a != AsKernel || s.event != Down {
		return a
	}
	if t == NewTCP || t == PersistentClient {
		return Move
	}
	return Keep
}

func (m *modelService) find(port uint16) *modelConn {
	i := slices.IndexFunc(m.conns, func(c *modelConn) bool { return c.port == port })
	if i < 0 {
		return nil
	}
	return m.conns[i]
}

// lifeModel runs engine and model side by side.
type lifeModel struct {
	*lifeBed
	r        *rand.Rand
	services []*modelService
	fresh    uint16 // next port of persistent clients
	log      []string
}

const modelTimeout = 100_000 // of templates, seconds: longer than a run

func newLifeModel(t *testing.T, seed uint64) *lifeModel {
	m := &lifeModel{lifeBed: newLifeBed(t), r: rand.New(rand.NewPCG(seed, 0)), fresh: 1024}
	m.command("-E -t 192.0.2.1:443 -s rr -p " + strconv.Itoa(modelTimeout))
	for _, class := range []Traffic{Established, UDPFlow, PersistentClient} {
		s := &modelService{t: class, key: m.keys[class]}
		for i := range 3 {
			a := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(11 + i)}), 8080)
			s.servers = append(s.servers, &modelServer{addr: a, weight: 1})
		}
		m.update(func(tx *Tx) error {
			return tx.AddServer(s.key, ServerSpec{Key: serverKeyOf(s.servers[2]), Method: conntrack.Masq, Weight: 1})
		})
		m.services = append(m.services, s)
	}
	return m
}

func serverKeyOf(s *modelServer) ServerKey { return ServerKey{s.addr.Addr().As16(), s.addr.Port()} }

// befallen has one of the servers change, or the policy.
func (m *lifeModel) befallen(s *modelService) {
	srv := s.servers[m.r.IntN(len(s.servers))]
	what := ""
	m.update(func(tx *Tx) error {
		key := serverKeyOf(srv)
		switch n := m.r.IntN(7); {
		case n < 2:
			for s.policy = m.randomPolicy(); s.policy.Check(s.key) != nil; s.policy = m.randomPolicy() {
			}
			what = fmt.Sprintf("policy %v", s.policy)
			return tx.SetLife(s.key, s.policy)
		case srv.removed:
			srv.removed, srv.down, srv.weight = false, false, int32(m.r.IntN(2))
			what = fmt.Sprintf("add %s weight %d", srv.addr, srv.weight)
			return tx.AddServer(s.key, ServerSpec{Key: key, Method: conntrack.Masq, Weight: srv.weight})
		case n < 4:
			srv.weight = 1 - srv.weight
			what = fmt.Sprintf("%s weight %d", srv.addr, srv.weight)
			return tx.EditServer(s.key, ServerSpec{Key: key, Method: conntrack.Masq, Weight: srv.weight})
		case n < 6:
			srv.down = !srv.down
			what = fmt.Sprintf("%s down %v", srv.addr, srv.down)
			return tx.MarkServer(s.key, key, srv.down)
		}
		srv.removed = true
		what = fmt.Sprintf("delete %s", srv.addr)
		return tx.DeleteServer(s.key, key)
	})
	if e := srv.is(); e != srv.event {
		srv.event, srv.since = e, 0
	}
	m.say("%s: %s", s.key, what)
}

func (m *lifeModel) randomPolicy() (p LifePolicy) {
	for _, e := range LifeEvents {
		ep := p.Of(e)
		for t := range TrafficClasses {
			for ok := false; !ok; ok = allowed(e, t, ep.First[t], web) == nil {
				ep.First[t] = Action(m.r.IntN(int(actions)))
			}
		}
		if m.r.IntN(2) == 0 {
			ep.Deadline = time.Duration(m.r.IntN(60)) * time.Second
			t := Traffic(m.r.IntN(int(TrafficClasses)))
			ep.Then[t] = []Action{Move, ResetBoth, Unreachable}[m.r.IntN(3)]
		}
	}
	return p
}

func (m *lifeModel) say(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%.3f ", float64(m.now)/1e9)+fmt.Sprintf(format, args...))
}

// advance lets time pass, at a moment that leaves no doubt what has run out.
func (m *lifeModel) advance(by int64) {
	m.now += by
	for doubt := true; doubt; {
		doubt = false
		for _, s := range m.services {
			for _, c := range s.conns {
				if d := m.now - c.expires; d >= 0 && d < 2e8 {
					doubt = true
				}
			}
		}
		if doubt {
			m.now += 2e8
		}
	}
	m.e.Expire(m.now, 1<<20)
	for _, s := range m.services {
		for _, srv := range s.servers {
			if srv.event != 0 && srv.since == 0 {
				srv.since = m.now
			}
		}
		for _, c := range s.conns {
			if c.server.event == 0 || s.t == Established || s.t == PersistentClient && c.expires <= m.now || s.action(c.server, s.t, m.now) != Move {
				continue
			}
			switch {
			case s.t == PersistentClient:
				s.counts.Moved++
				c.expires = 0
			case !c.givenUp:
				s.counts.Moved++
				c.givenUp, c.expires = true, m.now+lateReplies
			}
		}
		s.conns = slices.DeleteFunc(s.conns, func(c *modelConn) bool { return m.now >= c.expires })
	}
	m.say("time")
}

// scheduled checks what a packet met that had a server picked, and makes its
// connection.
func (m *lifeModel) scheduled(s *modelService, got string, c *modelConn) {
	m.t.Helper()
	var well []string
	for _, srv := range s.servers {
		if srv.is() == 0 {
			well = append(well, srv.addr.String())
			if strings.HasSuffix(got, " > "+srv.addr.String()) {
				c.server = srv
			}
		}
	}
	if c.server == nil {
		if len(well) > 0 || got != "client icmp 3/3" {
			m.fatal("picked %q of %v", got, well)
		}
		return
	}
	s.conns = slices.Insert(s.conns, 0, c)
}

func (m *lifeModel) fatal(format string, args ...any) {
	m.t.Helper()
	from := max(len(m.log)-40, 0)
	m.t.Fatalf("%s\n%s", fmt.Sprintf(format, args...), strings.Join(m.log[from:], "\n"))
}

func (m *lifeModel) want(got, want string) {
	m.t.Helper()
	if got != want {
		m.fatal("met %q, want %q", got, want)
	}
}

// datagram has a client ask.
func (m *lifeModel) datagram(s *modelService, port uint16) {
	src, v := addrPort(client.Addr(), port), AddrPort(s.key.Addr, s.key.Port)
	got := m.seen(clientNIC, packet(ProtoUDP, src, v, 0, []byte("?")))
	m.say("datagram of %d: %s", port, got)
	c := s.find(port)
	if c == nil {
		m.scheduled(s, got, &modelConn{port: port, expires: m.now + 300e9})
		return
	}
	a := Keep
	if c.server.event != 0 {
		a = s.action(c.server, UDPFlow, m.now)
	}
	switch {
	case a == Move:
		if !c.givenUp {
			s.counts.Moved++
			c.givenUp, c.expires = true, m.now+lateReplies
		}
		m.scheduled(s, got, &modelConn{port: port, expires: m.now + 300e9})
	case a == Unreachable && c.givenUp:
		m.scheduled(s, got, &modelConn{port: port, expires: m.now + 300e9})
	case a == Unreachable:
		m.want(got, "client icmp 3/3")
		s.counts.Unreachable++
		c.givenUp, c.expires = true, m.now
	case a == AsKernel && c.server.event == Removed:
		m.want(got, "server-gone")
	default:
		m.want(got, fmt.Sprintf("%s > %s", src, c.server.addr))
		c.givenUp, c.expires = false, m.now+300e9
	}
}

// reply has a server answer on one of its connections.
func (m *lifeModel) replies(s *modelService) {
	if len(s.conns) == 0 {
		return
	}
	c := s.conns[m.r.IntN(len(s.conns))]
	// Of several with the same server the newest gets it.
	c = s.conns[slices.IndexFunc(s.conns, func(o *modelConn) bool { return o.port == c.port && o.server == c.server })]
	dst, v := addrPort(client.Addr(), c.port), AddrPort(s.key.Addr, s.key.Port)
	proto := s.key.Proto
	f := segment(c.server.addr, dst, wire.ACK, 501, 104, "200")
	if proto == ProtoUDP {
		f = packet(ProtoUDP, c.server.addr, dst, 0, []byte("!"))
	}
	got := m.seen(serverNIC, f)
	m.say("reply to %d: %s", c.port, got)
	a := Keep
	if c.server.event != 0 {
		a = s.action(c.server, map[bool]Traffic{true: UDPFlow, false: Established}[proto == ProtoUDP], m.now)
	}
	if proto == ProtoTCP && a != Keep && a != AsKernel {
		m.reset(s, c, got, map[Action]string{
			ResetClient: fmt.Sprintf("%s > %s rst 501 ack 104", v, dst),
			ResetServer: fmt.Sprintf("%s > %s rst 104", dst, c.server.addr),
			ResetBoth:   fmt.Sprintf("%[1]s > %[2]s rst 104, %[3]s > %[1]s rst 501 ack 104", dst, c.server.addr, v),
		}[a])
		return
	}
	m.want(got, fmt.Sprintf("%s > %s", v, dst))
	switch {
	case proto == ProtoTCP:
		m.renew(c)
	case a == Keep || a == AsKernel:
		c.givenUp, c.expires = false, m.now+300e9
	}
}

func (m *lifeModel) renew(c *modelConn) {
	c.expires = m.now + 900e9
	if c.closed {
		c.expires = m.now + 10e9
	}
}

func (m *lifeModel) reset(s *modelService, c *modelConn, got, want string) {
	m.t.Helper()
	m.want(got, want)
	if !c.closed {
		s.counts.Reset++
		c.closed, c.expires = true, m.now+10e9
	}
}

// segments has a client send data.
func (m *lifeModel) segments(s *modelService, port uint16) {
	c := s.find(port)
	if c == nil {
		return
	}
	src, v := addrPort(client.Addr(), port), AddrPort(s.key.Addr, s.key.Port)
	got := m.seen(clientNIC, segment(src, v, wire.ACK, 101, 501, "GET"))
	m.say("segment of %d: %s", port, got)
	a := Keep
	if c.server.event != 0 {
		a = s.action(c.server, Established, m.now)
	}
	switch {
	case a == AsKernel && c.server.event == Removed:
		m.want(got, "server-gone")
	case a == Keep || a == AsKernel:
		m.want(got, fmt.Sprintf("%s > %s", src, c.server.addr))
		m.renew(c)
	default:
		m.reset(s, c, got, map[Action]string{
			ResetClient: fmt.Sprintf("%s > %s rst 501", v, src),
			ResetServer: fmt.Sprintf("%s > %s rst 101 ack 501", src, c.server.addr),
			ResetBoth:   fmt.Sprintf("%[1]s > %[2]s rst 501, %[2]s > %[3]s rst 101 ack 501", v, src, c.server.addr),
		}[a])
	}
}

// connects has a client send a SYN, and what picked a server answer it.
func (m *lifeModel) connects(s *modelService, port uint16) {
	src, v := addrPort(client.Addr(), port), AddrPort(s.key.Addr, s.key.Port)
	got := m.seen(clientNIC, segment(src, v, wire.SYN, 100, 0, ""))
	m.say("SYN of %d: %s", port, got)
	c := s.find(port)
	begins := func() {
		n := &modelConn{port: port}
		m.scheduled(s, got, n)
		if n.server == nil {
			return
		}
		m.seen(serverNIC, segment(n.server.addr, src, wire.SYN|wire.ACK, 500, 101, ""))
		m.seen(clientNIC, segment(src, v, wire.ACK, 101, 501, ""))
		m.renew(n)
	}
	if c == nil {
		begins()
		return
	}
	if c.closed {
		c.expires = m.now // its addresses and ports are used again
		begins()
		return
	}
	a := Keep
	if c.server.event != 0 {
		a = s.action(c.server, NewTCP, m.now)
	}
	switch {
	case a == Move:
		s.counts.Moved++
		c.expires = m.now
		begins()
	case a == AsKernel && c.server.event == Removed:
		m.want(got, "server-gone")
	case a == Keep || a == AsKernel:
		m.want(got, fmt.Sprintf("%s > %s", src, c.server.addr))
		m.renew(c)
	default:
		m.refused(s, c, a, got, src, v)
	}
}

// refused checks how something new was refused.
func (m *lifeModel) refused(s *modelService, c *modelConn, a Action, got string, src, v netip.AddrPort) {
	m.t.Helper()
	if a == ResetClient {
		m.want(got, fmt.Sprintf("%s > %s rst 0 ack 101", v, src))
		s.counts.Reset++
	} else {
		m.want(got, "client icmp 3/3")
		s.counts.Unreachable++
	}
	c.expires = m.now
}

// returns has the persistent client open another connection.
func (m *lifeModel) returns(s *modelService) {
	m.fresh++
	src, v := addrPort(client.Addr(), m.fresh), AddrPort(s.key.Addr, s.key.Port)
	got := m.seen(clientNIC, segment(src, v, wire.SYN, 100, 0, ""))
	m.say("persistent SYN of %d: %s", m.fresh, got)
	// What its template is; one that was given up is found no more.
	s.conns = slices.DeleteFunc(s.conns, func(c *modelConn) bool { return c.expires <= m.now })
	fresh := &modelConn{expires: m.now + modelTimeout*1e9}
	c := s.find(0)
	if c == nil {
		m.scheduled(s, got, fresh)
		return
	}
	a := Keep
	if c.server.event != 0 {
		a = s.action(c.server, PersistentClient, m.now)
	}
	switch {
	case a == Move || a == AsKernel && c.server.event == Removed:
		if a == Move {
			s.counts.Moved++
		}
		s.conns = nil
		m.scheduled(s, got, fresh)
	case a == Keep || a == AsKernel:
		m.want(got, fmt.Sprintf("%s > %s", src, c.server.addr))
		c.expires = m.now + modelTimeout*1e9
	default:
		m.refused(s, c, a, got, src, v)
	}
}

func (m *lifeModel) step() {
	s := m.services[m.r.IntN(len(m.services))]
	port := uint16(40000 + m.r.IntN(4))
	switch n := m.r.IntN(20); {
	case n == 0:
		m.befallen(s)
	case n == 1:
		m.advance(int64(1+m.r.IntN(20)) * 1e9)
	case n == 2:
		m.advance(1e8)
	case s.t == PersistentClient:
		m.returns(s)
	case n < 8:
		m.replies(s)
	case s.t == UDPFlow:
		m.datagram(s, port)
	case n < 14:
		m.segments(s, port)
	default:
		m.connects(s, port)
	}
	if s.counts != m.serviceCounts(s.key) {
		m.fatal("%s counts %+v, want %+v", s.key, m.serviceCounts(s.key), s.counts)
	}
}

func (m *lifeModel) serviceCounts(k ServiceKey) (c LifeCounters) {
	m.update(func(tx *Tx) error {
		s, err := tx.Service(k)
		c = s.LifeCounts
		return err
	})
	return c
}

// TestLifeModel has random packets, events, policies and times, and compares
// what comes of each packet with the model. VSNAT_SEED repeats a run.
func TestLifeModel(t *testing.T) {
	seed := rand.Uint64()
	if s := os.Getenv("VSNAT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	var total LifeCounters
	for i := range uint64(40) {
		t.Logf("VSNAT_SEED=%d, run %d", seed, i)
		m := newLifeModel(t, seed+i)
		for range 1500 {
			m.step()
		}
		for _, s := range m.services {
			total.Moved += s.counts.Moved
			total.Reset += s.counts.Reset
			total.Unreachable += s.counts.Unreachable
		}
	}
	if total.Moved < 100 || total.Reset < 100 || total.Unreachable < 100 {
		t.Errorf("hardly anything happened: %+v", total)
	}
}
