package nic

import (
	"encoding/binary"
	"sync/atomic"
)

// FlowSlots is how many counters [Flows] has.
const FlowSlots = 1 << 16

// Flows is a set of TCP flows, each from a client to an address and port of the
// host, in memory that the kernel may read too: counters that a flow's hash chooses
// one of. It may take one flow for another, of one in 65,536 for each that it has.
// Its methods may be called by any number of goroutines.
type Flows []uint64

// What the words of a flow are multiplied by: odd, and positive as int32.
const (
	FlowClient = 0x2545f491
	FlowDst    = 0x5bd1e995
	FlowPort   = 0x1b873593
	FlowLast   = 0x45d9f3b3
	FlowShift  = 16
)

// FlowSlot returns the number of the flow's counter. port is in host byte order;
// the addresses' words are taken in the machine's, as a BPF program does.
func FlowSlot(client, dst *Addr, port uint16) uint32 {
	h := fold(client)*FlowClient + fold(dst)*FlowDst + uint32(port)*FlowPort
	return (h ^ h>>FlowShift) * FlowLast >> FlowShift
}

func fold(a *Addr) uint32 {
	return binary.NativeEndian.Uint32(a[0:]) ^ binary.NativeEndian.Uint32(a[4:]) ^
		binary.NativeEndian.Uint32(a[8:]) ^ binary.NativeEndian.Uint32(a[12:])
}

// Add puts a flow into the set; one that is added twice must be removed twice.
func (f Flows) Add(client, dst *Addr, port uint16) {
	atomic.AddUint64(&f[FlowSlot(client, dst, port)], 1)
}

// Remove takes out a flow that was added.
func (f Flows) Remove(client, dst *Addr, port uint16) {
	atomic.AddUint64(&f[FlowSlot(client, dst, port)], ^uint64(0))
}

// Has reports whether the flow is in the set, or another one that is not told from
// it.
func (f Flows) Has(client, dst *Addr, port uint16) bool {
	return atomic.LoadUint64(&f[FlowSlot(client, dst, port)]) != 0
}
