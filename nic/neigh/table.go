package neigh

import "slices"

// verdict is what a route makes of a packet.
type verdict uint8

const (
	forward verdict = iota
	local
	refuse // unreachable, blackhole, prohibit, broadcast, multicast
	throw  // this table does not know: ask the next rule
)

// path is one way of a route, with all that is known of it before the
// neighbour.
type path struct {
	index  int
	mtu    int
	gw     ip // zero if on-link
	src    ip
	srcMAC [6]byte
	bare   bool   // the link needs no link-layer address (IFF_NOARP, loopback)
	below  uint64 // sum of the weights up to and with this path
}

// route is what one prefix of one table leads to.
type route struct {
	verdict verdict
	bits    uint8  // mapped length of the prefix
	paths   []path // of a forward route: at least one
}

// pick chooses the path to dst in proportion to the weights, always the same
// one for the same dst and set of paths.
func (r *route) pick(dst ip) *path {
	if len(r.paths) == 1 {
		return &r.paths[0]
	}
	h := dst.spread() % r.paths[len(r.paths)-1].below
	i := 0
	for h >= r.paths[i].below {
		i++
	}
	return &r.paths[i]
}

// table is one routing table of one family: for each prefix length in use a
// map from prefix to route, the longest first. A host has few lengths, so that
// a lookup is a few map accesses; and unlike a trie a map is built in one pass.
type table struct {
	levels []level
}

type level struct {
	bits   uint8
	routes map[ip]*candidate
}

// lookup returns the route with the longest prefix that a is in, nil if there
// is none.
func (t *table) lookup(a ip) *route {
	for i := range t.levels {
		if c, ok := t.levels[i].routes[a.mask(t.levels[i].bits)]; ok {
			return &c.route
		}
	}
	return nil
}

// candidate is a route on its way into a table, with what ranks it among the
// routes to the same prefix.
type candidate struct {
	dst    ip
	local  bool // of table local, when that is merged with main
	metric uint32
	pref   int8 // -1 low, 0, 1 high
	route  route
}

// newTable makes a table of the candidates, which it keeps. Of those to one
// prefix the one wins that is of table local, has the lowest metric, the
// highest preference, and comes first.
func newTable(from []candidate) *table {
	var count [129]int
	for i := range from {
		count[from[i].route.bits]++
	}
	var byLength [129]map[ip]*candidate
	for i := range from {
		c := &from[i]
		m := byLength[c.route.bits]
		if m == nil {
			m = make(map[ip]*candidate, count[c.route.bits])
			byLength[c.route.bits] = m
		}
		if old, ok := m[c.dst]; !ok || c.before(old) {
			m[c.dst] = c
		}
	}
	t := &table{}
	for bits, m := range slices.Backward(byLength[:]) {
		if m != nil {
			t.levels = append(t.levels, level{uint8(bits), m})
		}
	}
	return t
}

// before reports whether c ranks higher than d; equals rank by order.
func (c *candidate) before(d *candidate) bool {
	if c.local != d.local {
		return c.local
	}
	if c.metric != d.metric {
		return c.metric < d.metric
	}
	return c.pref > d.pref
}
