package sched

func init() { register("sh", func(Options) Scheduler { return &sh{} }) }

// shBits gives the table its 256 buckets (IP_VS_SH_TAB_BITS).
const (
	shBits = 8
	shSize = 1 << shBits
)

// sh is source hashing (ip_vs_sh.c): a fixed server for each client address,
// or address and port with Flag2 (sh-port). Flag1 (sh-fallback) tries others
// when that server cannot take the request.
type sh struct{ buckets [shSize]*Server }

// Init deals the buckets out round the list, to each server as many in a row as
// its weight. Weight 0 gets one, too, so that a server that is quiesced and
// comes back moves few clients of others.
func (h *sh) Init(list []*Server) {
	clear(h.buckets[:])
	for b := 0; b < shSize && len(list) > 0; {
		for _, s := range list {
			end := min(b+int(max(s.Weight, 1)), shSize)
			for ; b < end; b++ {
				h.buckets[b] = s
			}
		}
	}
}

func (h *sh) Changed(_ Op, _ *Server, _ int, list []*Server) { h.Init(list) }

func (h *sh) Pick(_ []*Server, req *Request) *Server {
	first := hash32(source(req), shBits)
	s := h.buckets[first]
	switch {
	case s == nil:
		return nil
	case hashed(s):
		return s
	case req.Flags&fallback == 0:
		return nil
	}
	for off := range uint32(shSize) {
		if s := h.probe(first, off); hashed(s) {
			return s
		}
	}
	return nil
}

// probe returns the server at an offset of the search for another one. The
// kernel adds the first hash to the offset and hashes again, which adds it once
// more: the search begins at twice the first hash.
func (h *sh) probe(first, off uint32) *Server { return h.buckets[(2*first+off)%shSize] }

func (h *sh) Clone(twin func(*Server) *Server) Scheduler {
	c := &sh{}
	twins(c.buckets[:], h.buckets[:], twin)
	return c
}

func (h *sh) Explain(list []*Server, req *Request) Account {
	first := hash32(source(req), shBits)
	return explainTable(list, hashRule(req, first, shSize), func(f func(*Server) bool) {
		if !f(h.buckets[first]) || h.buckets[first] == nil || req.Flags&fallback == 0 {
			return
		}
		for off := uint32(0); off < shSize && f(h.probe(first, off)); off++ {
		}
	})
}
