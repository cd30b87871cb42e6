package conntrack

import (
	"encoding/binary"
	"math/bits"
)

// Hash is the hash of a connection's client: its upper bits choose the shard,
// its lower ones the bucket. Two multiplications that depend on a secret: who
// does not know the seed cannot choose clients that collide.
func (t *Table) Hash(proto uint8, client Addr, port uint16) uint64 {
	return t.HashWords(proto, binary.LittleEndian.Uint64(client[:8]), binary.LittleEndian.Uint64(client[8:]), port)
}

// HashWords is [Table.Hash] of an address whose halves are these, read little endian.
func (t *Table) HashWords(proto uint8, first, second uint64, port uint16) uint64 {
	hi, lo := bits.Mul64(first^t.seed[0], second^t.seed[1])
	hi, lo = bits.Mul64(
		hi^lo^t.seed[2],
		uint64(port)<<8^uint64(proto)^t.seed[3])
	return hi ^ lo
}

// spread makes the four secrets of [Table.Hash] from one (splitmix64). None is
// zero: a zero factor would hide the other.
func spread(seed uint64) (s [4]uint64) {
	for i := range s {
		for s[i] == 0 {
			seed += 0x9e3779b97f4a7c15
			z := seed
			z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
			z = (z ^ z>>27) * 0x94d049bb133111eb
			s[i] = z ^ z>>31
		}
	}
	return s
}
