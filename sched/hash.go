package sched

import "encoding/binary"

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
