package sched

import (
	"encoding/binary"
	"fmt"
)

// The flags of the source hashing schedulers, sh and mh.
const (
	fallback = Flag1 // look for another server when the hashed one is not usable
	withPort = Flag2 // hash the client's port with its address
)

// hash32 is the kernel's hash_32 (include/linux/hash.h): the upper bits of the
// product with the golden ratio.
func hash32(x uint32, bits uint) uint32 { return x * 0x61C88647 >> (32 - bits) }

// fold makes 32 bits of an address, as a number in host byte order: the address
// itself for IPv4, the exclusive or of its four words for IPv6.
func fold(a *Addr) uint32 {
	w0, w1 := binary.BigEndian.Uint32(a[0:]), binary.BigEndian.Uint32(a[4:])
	w2, w3 := binary.BigEndian.Uint32(a[8:]), binary.BigEndian.Uint32(a[12:])
	if w0 == 0 && w1 == 0 && w2 == 0xffff {
		return w3
	}
	return w0 ^ w1 ^ w2 ^ w3
}

// source folds what sh and mh hash of a request: the client's address and, if
// the service wants it, port.
func source(req *Request) uint32 {
	v := fold(&req.Client)
	if req.Flags&withPort != 0 {
		v += uint32(req.ClientPort)
	}
	return v
}

// hashed reports whether the server that a table holds can take a request.
func hashed(s *Server) bool { return s.Available && s.Usable() }

// twins fills dst with the twins of the servers in src, which repeats few of them
// often.
func twins(dst, src []*Server, twin func(*Server) *Server) {
	known := make(map[*Server]*Server)
	for i, s := range src {
		if s == nil {
			continue
		}
		t, ok := known[s]
		if !ok {
			t = twin(s)
			known[s] = t
		}
		dst[i] = t
	}
}

// explainTable accounts for a pick from a table. probes calls its argument with
// the servers that are looked at, in order, until it returns false; nil is a slot
// without a server.
func explainTable(list []*Server, rule string, probes func(f func(*Server) bool)) Account {
	first := make(map[*Server]int, len(list))
	n, wanted := 0, 0 // of the list, those that it can be
	for _, s := range list {
		if hashed(s) {
			wanted++
		}
	}
	probes(func(s *Server) bool {
		if _, seen := first[s]; !seen {
			first[s] = n
			if s != nil && hashed(s) {
				wanted--
			}
		}
		n++
		return wanted > 0
	})
	a := account(list, rule, "place in the table's order", func(s *Server) (float64, bool) {
		at, ok := first[s]
		return float64(at), ok
	})
	a.elsewhere()
	for i := range a.Standings {
		if st := &a.Standings[i]; st.Refusal != 0 && st.Refusal != Elsewhere {
			if at, ok := first[st.Server]; ok && at == 0 {
				st.Note = "the table names it first"
			}
		}
	}
	return a
}

// hashRule says what sh and mh look up.
func hashRule(req *Request, slot, slots uint32) string {
	what := "address"
	if req.Flags&withPort != 0 {
		what = "address and port"
	}
	rule := fmt.Sprintf("the server of the client's %s, slot %d of %d", what, slot, slots)
	if req.Flags&fallback != 0 {
		rule += ", else the next in the table's order that can take it"
	}
	return rule
}
