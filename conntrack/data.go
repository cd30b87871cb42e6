package conntrack

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// A template may have data that it is found by, besides its key: what a persistence
// engine found in the packet, such as a call's identifier (pe_data in struct
// ip_vs_conn). It stands beside the connections, in blocks that are chained, so
// that only those pay that have some.

// MaxData is the most bytes that a template's data may have (IP_VS_PEDATA_MAXLEN).
const MaxData = 255

const (
	dataBlockLen = 60 // bytes of data in a block
	// dataChunkLen is how many blocks are allocated at a time: 4 KiB.
	dataChunkLen = 64
)

// dataBlock is 64 bytes without pointers. The first byte of the first block of a
// chain says how many follow.
type dataBlock struct {
	bytes [dataBlockLen]byte
	next  uint32 // in the chain, or of the free ones
}

// dataStore are a shard's blocks.
type dataStore struct {
	chunks []*[dataChunkLen]dataBlock // block i is chunks[i/dataChunkLen][i%dataChunkLen]; 0 is never used
	free   uint32                     // first free one; 0 is none
	fresh  uint32                     // those from this number on were never handed out
}

func (x *dataStore) at(id uint32) *dataBlock { return &x.chunks[id/dataChunkLen][id%dataChunkLen] }

func (x *dataStore) take() uint32 {
	if id := x.free; id != 0 {
		x.free = x.at(id).next
		return id
	}
	x.fresh = max(x.fresh, 1)
	id := x.fresh
	x.fresh++
	if int(id) >= len(x.chunks)*dataChunkLen {
		x.chunks = append(x.chunks, new([dataChunkLen]dataBlock))
	}
	return id
}

// put stores data and returns its first block.
func (x *dataStore) put(data []byte) uint32 {
	first := x.take()
	b := x.at(first)
	b.bytes[0] = byte(len(data))
	for room := b.bytes[1:]; ; room = b.bytes[:] {
		data = data[copy(room, data):]
		if b.next = 0; len(data) == 0 {
			return first
		}
		b.next = x.take()
		b = x.at(b.next)
	}
}

// get appends what put stored to buf.
func (x *dataStore) get(first uint32, buf []byte) []byte {
	b := x.at(first)
	n := int(b.bytes[0])
	part := b.bytes[1:min(n+1, dataBlockLen)]
	for {
		buf = append(buf, part...)
		if n -= len(part); n == 0 {
			return buf
		}
		b = x.at(b.next)
		part = b.bytes[:min(n, dataBlockLen)]
	}
}

// release frees the chain.
func (x *dataStore) release(first uint32) {
	last := x.at(first)
	for last.next != 0 {
		last = x.at(last.next)
	}
	last.next, x.free = x.free, first
}

func (x *dataStore) bytes() int { return len(x.chunks)*dataChunkSize + cap(x.chunks)*wordSize }

// HashData is the hash of a template that has data: it does not depend on the
// client, as one client may have any number of them (ip_vs_sip_hashkey_raw).
func (t *Table) HashData(data []byte) uint64 {
	hi, lo := uint64(len(data))^t.seed[0], t.seed[1]
	for len(data) > 0 {
		var w [16]byte
		data = data[copy(w[:], data):]
		hi, lo = bits.Mul64(hi^lo^binary.LittleEndian.Uint64(w[:8])^t.seed[2], binary.LittleEndian.Uint64(w[8:])^t.seed[3])
	}
	// Once more, so that the upper bits depend on all of the last word.
	hi, lo = bits.Mul64(hi^lo^t.seed[1], t.seed[0]|1)
	return hi ^ lo
}

// InsertTemplate is Insert for a template that has data, at most [MaxData] bytes;
// hash is that of the data.
func (s *Shard) InsertTemplate(hash uint64, k *Key, data []byte, now int64) *Conn {
	c := s.Insert(hash, k, now)
	if c != nil {
		c.Flags |= Template
		s.Extend(c).data = s.data.put(data)
	}
	return c
}

// TemplateOf finds a template that has these data (ip_vs_sip_ct_match), the newest
// if several do.
func (s *Shard) TemplateOf(hash uint64, k *Key, data []byte) *Conn {
	var buf [MaxData]byte
	for w := s.walk(hash); ; {
		c := w.more(s)
		if c == nil {
			return nil
		}
		if c.Flags&Template != 0 && s.hasData(c) && c.VirtualPort == k.VirtualPort && c.Proto == k.Proto &&
			c.Client == k.Client && c.Virtual == k.Virtual && bytes.Equal(s.Data(c, buf[:0]), data) {
			return c
		}
	}
}

// Data appends a template's data to buf; nothing if it has none.
func (s *Shard) Data(c *Conn, buf []byte) []byte {
	if !s.hasData(c) {
		return buf
	}
	return s.data.get(s.exts.at(c.ext).data, buf)
}

func (s *Shard) hasData(c *Conn) bool { return c.Extended() && s.exts.at(c.ext).data != 0 }
