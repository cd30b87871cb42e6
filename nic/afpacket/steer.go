package afpacket

import (
	"encoding/binary"
	"slices"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Bounds on the addresses that a steering program knows: a program has at most 4096
// instructions. Packets to others are steered by their destination.
const (
	maxVIPs4 = 1024
	maxVIPs6 = 128
)

// assembler puts a classic BPF program together. Jumps go forward only.
type assembler []unix.SockFilter

func (a *assembler) op(code uint16, k uint32) { *a = append(*a, unix.SockFilter{Code: code, K: k}) }

// unless skips what then adds, if the condition holds of the accumulator.
func (a *assembler) unless(condition uint16, k uint32, then func()) {
	*a = append(*a, unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, K: k, Jf: 1})
	a.skip(then)
}

// when runs what then adds, if the condition holds of the accumulator.
func (a *assembler) when(condition uint16, k uint32, then func()) {
	*a = append(*a, unix.SockFilter{Code: unix.BPF_JMP | condition | unix.BPF_K, K: k, Jt: 1})
	a.skip(then)
}

// skip jumps over what then adds.
func (a *assembler) skip(then func()) {
	at := len(*a)
	a.op(unix.BPF_JMP|unix.BPF_JA, 0)
	then()
	(*a)[at].K = uint32(len(*a) - at - 1)
}

// Operations.
const (
	ldWord  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	ldHalf  = unix.BPF_LD | unix.BPF_H | unix.BPF_ABS
	ldByte  = unix.BPF_LD | unix.BPF_B | unix.BPF_ABS
	ldPort  = unix.BPF_LD | unix.BPF_H | unix.BPF_IND
	ldxHead = unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH // the length of an IPv4 header
	ldMem   = unix.BPF_LD | unix.BPF_MEM
	store   = unix.BPF_ST
	mul     = unix.BPF_ALU | unix.BPF_MUL | unix.BPF_K
	shift   = unix.BPF_ALU | unix.BPF_RSH | unix.BPF_K
	addX    = unix.BPF_ALU | unix.BPF_ADD | unix.BPF_X
	toX     = unix.BPF_MISC | unix.BPF_TAX
	retA    = unix.BPF_RET | unix.BPF_A
	retK    = unix.BPF_RET | unix.BPF_K
)

// mix spreads what it is multiplied with over the upper bits: 2 to the 32nd over the
// golden ratio, odd.
const mix = 0x9e3779b1

// steering is the program that tells the number of a packet's queue; the kernel takes
// it modulo their number. Both directions of a flow get the same, whichever NIC they
// come in by: it is of the client's address and port, which is the source of a packet
// to a virtual address, and the destination of any other. Fragments, of which only
// the first has ports, and what has no ports go by the address alone.
//
// A program of a fanout group sees the packet from the IP header on.
func steering(vips []nic.Addr) []unix.SockFilter {
	v4, v6 := addresses(vips)
	var a assembler
	a.op(ldHalf, etherType)
	a.when(unix.BPF_JEQ, unix.ETH_P_IP, func() { a.steer4(v4) })
	a.when(unix.BPF_JEQ, unix.ETH_P_IPV6, func() { a.steer6(v6) })
	a.op(retK, 0)
	return a
}

// etherType is where a program finds the frame's protocol: SKF_AD_OFF +
// SKF_AD_PROTOCOL (include/uapi/linux/filter.h).
const etherType = 0xfffff000

// addresses returns the IPv4 and the IPv6 ones in order, as many as a program knows.
func addresses(vips []nic.Addr) (v4 []uint32, v6 []nic.Addr) {
	for _, a := range vips {
		if [12]byte(a[:12]) == [12]byte{10: 0xff, 11: 0xff} {
			v4 = append(v4, binary.BigEndian.Uint32(a[12:]))
		} else {
			v6 = append(v6, a)
		}
	}
	slices.Sort(v4)
	slices.SortFunc(v6, func(a, b nic.Addr) int { return slices.Compare(a[:], b[:]) })
	v4, v6 = slices.Compact(v4), slices.Compact(v6)
	return v4[:min(len(v4), maxVIPs4)], v6[:min(len(v6), maxVIPs6)]
}

// Offsets in an IPv4 header and an IPv6 header, and of ports from where a header ends.
const (
	src4, dst4    = 12, 16
	src6, dst6    = 8, 24
	source, dest  = 0, 2
	fragment4     = 6
	moreOrLater   = 0x3fff // more fragments, or not the first
	proto4        = 9
	next6, ports6 = 6, 40
)

func (a *assembler) steer4(vips []uint32) {
	a.op(ldxHead, 0)
	a.op(ldWord, dst4)
	a.search(vips, func() {
		a.op(ldWord, src4)
		a.finish4(source)
	})
	a.op(ldWord, dst4)
	a.finish4(dest)
}

// finish4 returns the number for the client's address in the accumulator.
func (a *assembler) finish4(port uint32) {
	a.op(mul, mix)
	a.op(store, 0)
	a.op(ldHalf, fragment4)
	a.unless(unix.BPF_JSET, moreOrLater, func() {
		a.op(ldByte, proto4)
		a.withPorts(func() { a.op(ldPort, port) })
	})
	a.number()
}

// withPorts adds the port that load loads to the sum, and returns its number, if the
// protocol in the accumulator has ports.
func (a *assembler) withPorts(load func()) {
	for _, p := range []uint32{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP} {
		a.when(unix.BPF_JEQ, p, func() {
			load()
			a.op(toX, 0)
			a.op(ldMem, 0)
			a.op(addX, 0)
			a.op(store, 0)
			a.number()
		})
	}
}

// number returns that of the sum.
func (a *assembler) number() {
	a.op(ldMem, 0)
	a.op(mul, mix)
	a.op(shift, 16)
	a.op(retA, 0)
}

// search runs found if the accumulator is one of vips, which are in order; found ends
// the program. It looks among at most four, one by one.
func (a *assembler) search(vips []uint32, found func()) {
	if len(vips) == 0 {
		return
	}
	a.skipUnlessFound(func(hit *[]int) { a.tree(vips, hit) }, found)
}

// skipUnlessFound adds a search, whose hits jump to what found adds.
func (a *assembler) skipUnlessFound(search func(hit *[]int), found func()) {
	var hit []int
	search(&hit)
	a.skip(func() {
		for _, at := range hit {
			(*a)[at].K = uint32(len(*a) - at - 1)
		}
		found()
	})
}

func (a *assembler) tree(vips []uint32, hit *[]int) {
	if len(vips) <= 4 {
		for _, v := range vips {
			*a = append(*a, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: v, Jf: 1})
			*hit = append(*hit, len(*a))
			a.op(unix.BPF_JMP|unix.BPF_JA, 0)
		}
		return
	}
	mid := len(vips) / 2
	a.unless(unix.BPF_JGE, vips[mid], func() { a.tree(vips[:mid], hit) })
	// What is less has not been found, and is not found here either.
	a.tree(vips[mid:], hit)
}

func (a *assembler) steer6(vips []nic.Addr) {
	if len(vips) > 0 {
		a.skipUnlessFound(func(hit *[]int) {
			for _, v := range vips {
				a.same6(v, hit)
			}
		}, func() { a.finish6(src6, source) })
	}
	a.finish6(dst6, dest)
}

// same6 jumps to what is found if the destination is that address. Addresses differ
// in their last words most often.
func (a *assembler) same6(v nic.Addr, hit *[]int) {
	var ends []int
	for word := 3; word >= 0; word-- {
		a.op(ldWord, uint32(dst6+4*word))
		ends = append(ends, len(*a))
		a.op(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, binary.BigEndian.Uint32(v[4*word:]))
	}
	*hit = append(*hit, len(*a))
	a.op(unix.BPF_JMP|unix.BPF_JA, 0)
	for _, at := range ends {
		(*a)[at].Jf = uint8(len(*a) - at - 1)
	}
}

// finish6 returns the number for the client's address at that place.
func (a *assembler) finish6(at, port uint32) {
	a.op(ldWord, at)
	for word := uint32(1); word < 4; word++ {
		a.op(mul, mix)
		a.op(toX, 0)
		a.op(ldWord, at+4*word)
		a.op(addX, 0)
	}
	a.op(mul, mix)
	a.op(store, 0)
	a.op(ldByte, next6)
	a.withPorts(func() { a.op(ldHalf, ports6+port) })
	a.number()
}
