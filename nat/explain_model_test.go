package nat

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"vsnat/conntrack"
	"vsnat/nat/forward"
	"vsnat/nat/wire"
	"vsnat/nic"
	"vsnat/sched"
)

// explainModel takes two directors through the same history. One is asked before
// every packet what would become of it: that must be what becomes of it, and the
// asking must change nothing: neither what can be looked at nor, as the other
// director is never asked, anything that shows later.
type explainModel struct {
	t           *testing.T
	r           *rand.Rand
	asked, left *bed
	now         int64
	log         []string
	seen        map[string]int // what the run has come by
	recent      []Question     // what came before, and what may come in answer
}

var (
	modelVIPs    = []string{"192.0.2.1", "2001:db8:c::1"}
	modelClients = []string{"192.0.2.7", "192.0.2.8", "192.0.2.77", "10.0.0.1", "203.0.113.5", "10.0.0.55", "224.0.0.9", "2001:db8:c::7", "2001:db8:c::8", "2001:db8:9::9"}
	modelServers = []string{"10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.14", "172.16.0.1", "10.0.0.1", "2001:db8:5::11", "2001:db8:5::12", "2001:db8:5::13"}
)

func newExplainModel(t *testing.T, seed uint64) *explainModel {
	r := rand.New(rand.NewPCG(seed, 7))
	opt := Options{Guarded: r.IntN(2) == 0, Conns: conntrack.Config{Seed: seed, Max: []int{0, 0, 5}[r.IntN(3)]}}
	m := &explainModel{t: t, r: r, now: 1e9, seen: map[string]int{}}
	for _, b := range []**bed{&m.asked, &m.left} {
		*b = newBed(t, opt)
		routes := (*b).routes
		elsewhere := routes.routes[1]
		elsewhere.to = netip.MustParsePrefix("203.0.113.0/24")
		routes.routes = append(routes.routes, elsewhere)
		routes.router = true
		(*b).e.SetHostPort(hostNIC)
		(*b).workers[hostNIC] = (*b).e.NewWorker(hostNIC)
		(*b).e.SetRoutes(routes)
	}
	for range 60 {
		m.add()
	}
	return m
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// both has both directors carry out what is refused or accepted alike.
func (m *explainModel) both(what string, do func(tx *Tx) error) {
	m.log = append(m.log, what)
	for _, b := range []*bed{m.asked, m.left} {
		b.e.Update(func(tx *Tx) { _ = do(tx) })
	}
}

func (m *explainModel) service() ServiceKey {
	v := pick(m.r, modelVIPs)
	addr := netip.MustParseAddr(v).As16()
	switch m.r.IntN(6) {
	case 0:
		return ServiceKey{Proto: ProtoUDP, Addr: addr, Port: 53}
	case 1:
		return ServiceKey{Proto: ProtoTCP, Addr: addr, Port: ftpPort}
	case 2:
		return ServiceKey{Proto: pick(m.r, []uint8{ProtoTCP, ProtoUDP, ProtoSCTP}), Addr: addr}
	case 3:
		return ServiceKey{Mark: 7, V6: m.r.IntN(2) == 0}
	}
	return ServiceKey{Proto: ProtoTCP, Addr: addr, Port: 80}
}

func (m *explainModel) servers(k ServiceKey) ServerKey {
	for {
		a := netip.MustParseAddr(pick(m.r, modelServers))
		v6 := k.V6
		if k.Mark == 0 {
			v6 = !is4(&k.Addr)
		}
		if a.Is6() == v6 {
			return ServerKey{Addr: a.As16(), Port: pick(m.r, []uint16{0, 8080, 8080, k.Port})}
		}
	}
}

// standing returns a service and a server of it that is there, or else those given.
func (m *explainModel) standing(k ServiceKey, server ServerKey) (ServiceKey, ServerKey) {
	var all []ServiceInfo
	m.asked.e.Update(func(tx *Tx) { all = tx.Services() })
	for n := range 60 {
		s := pick(m.r, all)
		if len(s.Servers) == 0 {
			continue
		}
		if srv := pick(m.r, s.Servers); srv.Active+srv.Inactive+srv.Persistent > 0 || n > 50 {
			return s.Key, srv.Key // one that somebody uses, if there is one
		}
	}
	return k, server
}

// add adds a service, or a server to one.
func (m *explainModel) add() { m.change(m.r.IntN(13)) }

// change changes something that an operator might, which n tells.
func (m *explainModel) change(n int) {
	k := m.service()
	spec := ServiceSpec{
		Key: k, Scheduler: pick(m.r, sched.Names()), Flags: sched.Flags(m.r.IntN(4)), Persistent: m.r.IntN(3) == 0 || k.Port == 0 && k.Mark == 0,
		OnePacket: m.r.IntN(4) == 0, Timeout: 300, Netmask: 0xffffffff >> m.r.IntN(2) << 1,
	}
	if k.V6 || k.Mark == 0 && !is4(&k.Addr) {
		spec.Netmask = pick(m.r, []uint32{128, 64})
	}
	upper := uint32(m.r.IntN(2) * (1 + m.r.IntN(6)))
	server := ServerSpec{
		Key: m.servers(k), Method: pick(m.r, []conntrack.Method{conntrack.Masq, conntrack.Masq, conntrack.Masq, conntrack.Direct, conntrack.Tunnel, conntrack.Full}),
		Tunnel: pick(m.r, []forward.Tunnel{{}, {Type: forward.GUE, Port: 6080}, {Type: forward.GRE}}),
		Weight: m.r.Int32N(4), Upper: upper, Lower: upper / 2,
	}
	if server.Method == conntrack.Direct || server.Method == conntrack.Tunnel {
		server.Key.Port = k.Port
	}
	if n >= 13 && n < 26 {
		k, server.Key = m.standing(k, server.Key)
	}
	switch {
	case n < 3:
		m.both(fmt.Sprintf("add %+v", spec), func(tx *Tx) error { return tx.AddService(spec) })
	case n < 5:
		m.both(fmt.Sprintf("edit %+v", spec), func(tx *Tx) error { return tx.EditService(spec) })
	case n < 6 && m.r.IntN(8) == 0:
		m.both(fmt.Sprintf("delete %s", k), func(tx *Tx) error { return tx.DeleteService(k) })
	case n < 13:
		m.both(fmt.Sprintf("add %+v of %s", server, k), func(tx *Tx) error { return tx.AddServer(k, server) })
	case n < 17:
		m.both(fmt.Sprintf("edit %+v of %s", server, k), func(tx *Tx) error { return tx.EditServer(k, server) })
	case n < 19:
		m.both(fmt.Sprintf("delete %+v of %s", server.Key, k), func(tx *Tx) error { return tx.DeleteServer(k, server.Key) })
	case n < 23:
		down := m.r.IntN(3) > 0
		m.both(fmt.Sprintf("%+v of %s down %v", server.Key, k, down), func(tx *Tx) error { return tx.MarkServer(k, server.Key, down) })
	case n < 26:
		name := pick(m.r, LifePresets())
		policy, _ := LifePreset(name)
		m.both(fmt.Sprintf("life %s of %s", name, k), func(tx *Tx) error { return tx.SetLife(k, policy) })
	case n < 27:
		var rules []MarkRule
		if m.r.IntN(2) == 0 {
			rules = []MarkRule{{Mark: 7, Selector: Selector{Dst: netip.MustParsePrefix("198.51.100.0/24")}}, {Mark: 7, Selector: Selector{Dst: netip.MustParsePrefix("192.0.2.1/32"), FirstPort: 80, LastPort: 90}}}
		}
		m.both(fmt.Sprintf("marks %v", rules), func(tx *Tx) error { return tx.SetMarkRules(rules) })
		var inside []Masquerade
		if m.r.IntN(3) > 0 {
			inside = []Masquerade{{Network: netip.MustParsePrefix("10.0.0.0/24")}, {Network: netip.MustParsePrefix("2001:db8:5::/64")}}
		}
		m.both(fmt.Sprintf("masquerades %v", inside), func(tx *Tx) error { return tx.SetMasquerades(inside) })
	case n < 29:
		s := DefaultSettings()
		s.ConnReuseMode, s.ExpireNodestConn, s.ExpireQuiescentTemplate = m.r.IntN(4), m.r.IntN(2) == 0, m.r.IntN(2) == 0
		s.CacheBypass = m.r.IntN(2) == 0
		s.SloppyTCP, s.SecureTCP, s.DropPacket, s.AMDropRate = m.r.IntN(4) == 0, 3*m.r.IntN(2), 3*m.r.IntN(2), 2+m.r.IntN(5)
		m.both(fmt.Sprintf("settings %+v", s), func(tx *Tx) error { return tx.SetSettings(s) })
	default:
		at, state := m.r.IntN(len(m.asked.routes.routes)), pick(m.r, []nic.HopState{nic.HopResolved, nic.HopResolved, nic.HopResolved, nic.HopUnresolved, nic.HopNoRoute})
		m.log = append(m.log, fmt.Sprintf("route %d state %d", at, state))
		for _, b := range []*bed{m.asked, m.left} {
			b.routes.routes[at].hop.State = state
			b.e.SetRoutes(b.routes)
		}
	}
}

// question is about a packet of a client, or of a server to one; often one of those
// that had to do with each other before.
func (m *explainModel) question() Question {
	if len(m.recent) > 0 && m.r.IntN(3) > 0 {
		q := pick(m.r, m.recent)
		if q.TCPFlags&wire.SYN == 0 || m.r.IntN(3) > 0 {
			q.TCPFlags = pick(m.r, []uint8{wire.SYN, wire.ACK, wire.ACK, wire.FIN | wire.ACK, wire.RST | wire.ACK})
		}
		if m.r.IntN(4) == 0 {
			q.Src = addrPort(q.Src.Addr(), uint16(1024+m.r.IntN(20)))
		}
		return q
	}
	for {
		q := Question{
			Proto:    pick(m.r, []uint8{ProtoTCP, ProtoTCP, ProtoTCP, ProtoTCP, ProtoUDP, ProtoUDP, ProtoSCTP}),
			Src:      addrPort(netip.MustParseAddr(pick(m.r, modelClients)), pick(m.r, []uint16{1024, 1025, 1026, 1027, 1028, 1029, ftpDataPort})),
			Dst:      addrPort(netip.MustParseAddr(pick(m.r, append(modelVIPs, "198.51.100.3", modelVIPs[0], "192.0.2.77"))), pick(m.r, []uint16{80, 80, 80, 21, 2000, 53, 90, 99})),
			TCPFlags: pick(m.r, []uint8{wire.SYN, wire.SYN, wire.ACK, wire.ACK, wire.FIN | wire.ACK, wire.RST}),
		}
		if m.r.IntN(5) == 0 {
			q.Src, q.Dst = addrPort(netip.MustParseAddr(pick(m.r, modelServers)), pick(m.r, []uint16{8080, 80, 53})), q.Src
			q.TCPFlags = pick(m.r, []uint8{wire.SYN | wire.ACK, wire.ACK, wire.FIN | wire.ACK, wire.RST})
		}
		if q.Src.Addr().Is4() == q.Dst.Addr().Is4() {
			q.NIC = pick(m.r, []int{clientNIC, clientNIC, serverNIC})
			return q
		}
	}
}

// shape is all that can be looked at in a director.
func (m *explainModel) shape(b *bed) string {
	var s bytes.Buffer
	fmt.Fprintln(&s, b.e.Table().Len(), b.e.Total(), b.e.dropCounter.Load())
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		twin := b.e.Table().Copy(c)
		fmt.Fprintf(&s, "%+v\n", twin)
		return true
	})
	b.e.Update(func(tx *Tx) {
		for _, i := range tx.Services() {
			i.Life = nil // a pointer
			fmt.Fprintf(&s, "%+v\n", i)
		}
	})
	return s.String()
}

func (m *explainModel) step(n int) {
	r := m.r
	if r.IntN(3) == 0 {
		m.change(pick(r, []int{r.IntN(30), 17 + r.IntN(12)}))
	}
	m.now += 1e6 + r.Int64N(2e8)
	if r.IntN(40) == 0 {
		m.now += r.Int64N(int64(2 * time.Minute))
	}
	for _, b := range []*bed{m.asked, m.left} {
		b.now = m.now
		for _, w := range b.workers {
			w.Idle(m.now)
			w.Commit()
		}
		b.e.Tick(m.now)
		b.e.Expire(m.now, 1000)
	}
	m.now += 1e6 // as bed.in adds
	q := m.question()
	what := fmt.Sprintf("step %d: %d %s to %s flags %#x at NIC %d", n, q.Proto, q.Src, q.Dst, q.TCPFlags, q.NIC)
	m.log = append(m.log, what)
	before := m.shape(m.asked)
	d, err := m.asked.e.Explain(q, m.now)
	if err != nil {
		m.fail("%v", err)
	}
	for range r.IntN(3) {
		m.asked.e.Explain(q, m.now)
	}
	if after := m.shape(m.asked); after != before {
		m.fail("asking has changed\n%s\nto\n%s", before, after)
	}
	m.judge(d, q.NIC, q.frame())
	m.agrees(d)
	if d.Reply != nil && r.IntN(2) == 0 && !m.pooled(&d.Out[0].Headers) {
		answer, _ := answerTo(d)
		m.judge(d.Reply, d.Out[0].Port, answer)
	}
	if d.Verdict.Kind == Forward {
		h := &d.Out[0].Headers
		m.recent = append(m.recent, q)
		if h.Proto == q.Proto { // no tunnel
			m.recent = append(m.recent, Question{
				Proto: h.Proto, Src: AddrPort(h.Dst, h.DstPort), Dst: AddrPort(h.Src, h.SrcPort), TCPFlags: wire.SYN | wire.ACK, NIC: d.Out[0].Port,
			})
		}
		m.recent = m.recent[max(0, len(m.recent)-30):]
	}
}

// judge has both directors judge the frame and holds the decision against it.
func (m *explainModel) judge(d *Decision, index int, f nic.Frame) {
	twin := nic.Frame{WireLen: f.WireLen}
	twin.Buf = slices.Clone(f.Buf)
	for _, b := range []*bed{m.asked, m.left} { // held frames leave before
		b.workers[index].Idle(b.now + 1e6)
		b.workers[index].Commit()
	}
	v, out := m.asked.in(index, f)
	other, otherOut := m.left.in(index, twin)
	if v != other || !reflect.DeepEqual(m.departures(out), m.departures(otherOut)) {
		m.fail("asked: %v %v, not asked: %v %v", v, m.departures(out), other, m.departures(otherOut))
	}
	m.seen[fmt.Sprintf("verdict %d %s", v.Kind, v.Reason)]++
	if v == drop(HoldFull) && d.Verdict == holding {
		return // that is a worker's own
	}
	if b := m.asked; b.record != nil && d.At == b.now { // an answer is told of as of its question
		m.seen["recorded"]++
		m.recorded(d, b.record)
	}
	if d.Verdict != v {
		m.fail("decided %v (%s), and it became %v (%s)", d.Verdict, d.Verdict.Reason, v, v.Reason)
	}
	var want []Departure
	for _, o := range d.Out {
		if !o.Waits {
			want = append(want, Departure{Port: o.Port, Headers: o.Headers})
		}
	}
	got := m.departures(out)
	for _, list := range [][]Departure{want, got} {
		for i := range list {
			if h := &list[i].Headers; m.pooled(h) {
				h.SrcPort = 0 // which port of a pool it is is the worker's own
			}
		}
	}
	if !slices.Equal(got, want) {
		m.fail("decided that these leave\n%+v\nand these left\n%+v", want, got)
	}
}

// recorded holds what was recorded of the packet against what was explained.
func (m *explainModel) recorded(d, recorded *Decision) {
	want, got := *d, *recorded
	for _, d := range []*Decision{&want, &got} {
		d.Out = slices.Clone(d.Out)
		for i := range d.Out {
			if h := &d.Out[i].Headers; m.pooled(h) {
				h.SrcPort = 0
			}
		}
		if d.Service == nil && d.Found == nil && d.Connection == nil {
			d.Cause = 0 // Explain says that there is no service
		}
	}
	if w, g := spelled(&want), spelled(&got); w != g {
		m.fail("explained\n%s\nand recorded\n%s", w, g)
	}
}

// pooled reports whether the packet comes from a port of a pool.
func (m *explainModel) pooled(h *Headers) bool {
	return slices.Contains(m.asked.routes.local, netip.AddrFrom16(h.Src).Unmap()) && h.SrcPort >= DefaultFirstPort && h.SrcPort <= DefaultLastPort
}

func (m *explainModel) departures(out []sent) (all []Departure) {
	for i := range out {
		all = append(all, Departure{Port: out[i].port, Headers: headersOf(out[i].Eth())})
	}
	return all
}

// agrees holds the decision against the connection that the packet has made or met.
func (m *explainModel) agrees(d *Decision) {
	if s := d.Scheduling; s != nil {
		m.seen["scheduled by "+s.Scheduler]++
		if c := d.Connection; s.Picked >= 0 && c != nil && (ServerKey{c.Dest, s.Candidates[s.Picked].Key.Port}) != s.Candidates[s.Picked].Key {
			m.fail("%s picked %+v, and the connection goes to %+v", s.Scheduler, s.Candidates[s.Picked], c)
		}
	}
	if t := d.Template; t != nil {
		m.seen["template given up: "+t.GivenUp.String()]++
	}
	m.seen["given up: "+d.GivenUp.String()]++
	m.seen["cause: "+d.Cause.String()]++
	m.seen["rule: "+d.Rule.String()]++
	if d.Life != nil {
		m.seen["life: "+d.Life.Action.String()]++
	}
	c := d.Connection
	if c == nil || c.Flags&conntrack.OnePacket != 0 {
		return
	}
	m.seen["why: "+c.Why().String()]++
	m.seen[fmt.Sprintf("method %d", c.Method())]++
	var near []conntrack.Copy
	found := false
	m.asked.e.Table().Range(func(there *conntrack.Conn) bool {
		real := m.asked.e.Table().Copy(there)
		same := real.Client == c.Client && real.ClientPort == c.ClientPort && real.Virtual == c.Virtual && real.VirtualPort == c.VirtualPort && real.Proto == c.Proto
		if same {
			near = append(near, real)
		}
		found = found || same && real.Server == c.Server && real.Dest == c.Dest && real.DestPort == c.DestPort && real.State == c.State && real.Flags == c.Flags &&
			real.Timeout() == c.Timeout() && real.Expires == c.Expires && real.InPkts == c.InPkts && real.InBytes == c.InBytes && real.OutBytes == c.OutBytes
		return !found
	})
	if !found {
		m.fail("decided on\n%+v, and there are\n%+v", *c, near)
	}
}

func (m *explainModel) fail(format string, args ...any) {
	m.t.Helper()
	for _, l := range m.log[max(0, len(m.log)-40):] {
		m.t.Log(l)
	}
	m.t.Fatalf(format, args...)
}

// TestExplainIsWhatHappens is the law of explanations, for random services, servers,
// connections and packets.
func TestExplainIsWhatHappens(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4, 5, 6, 7, 8}
	if s, err := strconv.ParseUint(os.Getenv("VSNAT_SEED"), 10, 64); err == nil {
		seeds = []uint64{s}
	}
	if testing.Short() {
		seeds = seeds[:1]
	}
	seen := map[string]int{}
	for _, seed := range seeds {
		m := newExplainModel(t, seed)
		m.log = append(m.log, fmt.Sprintf("VSNAT_SEED=%d", seed))
		for n := range 350 {
			m.step(n)
		}
		for k, n := range m.seen {
			seen[k] += n
		}
	}
	if len(seeds) < 8 {
		return
	}
	t.Log(seen)
	wanted := []string{
		"cause: from-ftp-data", "cause: begins-nothing", "cause: no-server", "cause: no-service",
		"given up: policy", "life: move", "life: reset-both", "life: keep",
		"rule: any-port", "rule: exact", "rule: ftp-fallback", "rule: mark",
		"why: scheduled", "why: template", "why: moved",
		"recorded", "verdict 1 none", "verdict 2 none", "verdict 3 none", "verdict 4 none", "verdict 5 drop-packet", "verdict 5 martian-source",
		"verdict 5 no-answer", "verdict 5 server-gone", "verdict 5 table-full",
		"method 0", "method 2", "method 3", "method 4", "method 5", "method 6",
	}
	for _, name := range sched.Names() {
		wanted = append(wanted, "scheduled by "+name)
	}
	missing := slices.DeleteFunc(wanted, func(k string) bool { return seen[k] > 0 })
	if len(missing) > 4 { // chance may leave out some
		t.Errorf("never came by: %q; what did: %v", missing, seen)
	}
}
