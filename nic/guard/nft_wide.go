package guard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The wide selectors are rules of two chains for each shape N and list G. The
// kernel acknowledges each rule, and there is no room for the answers of a long
// list: the list is made piece by piece, and then put in place in one batch.
//
//	chain wideN { goto wideN-G }
//	chain wideN-G {
//		[iif I] proto P [saddr S] [daddr D] dport F-L counter drop, or return
//	}
//	chain errorsN { goto errorsN-G }
//	chain errorsN-G {
//		[iif I] INNER proto P [INNER daddr S] [INNER saddr D] [daddr D] INNER sport F-L counter drop, or return
//	}

// wideChunk is how many selectors are made at once.
const wideChunk = 16

// wideChains are the chains of one shape. The lists are nil if empty.
type wideChains struct {
	shape                *shape
	wide, errors         *nftables.Chain
	wideList, errorsList *nftables.Chain
}

// addWideChains adds the chains of a shape, without lists.
func (b *nft) addWideChains(s *shape) *wideChains {
	c := &wideChains{shape: s, wide: b.addChain("wide" + s.suffix), errors: b.addChain("errors" + s.suffix)}
	b.wide = append(b.wide, c)
	return c
}

// jump goes on in another chain and, unless that drops the packet, comes back.
func jump(c *nftables.Chain) exprs { return exprs{verdict(expr.VerdictJump, c.Name)} }

func (b *nft) setWide(list []Wide) error {
	b.lists++
	var old, fresh []wideChains
	for _, c := range b.wide {
		old = append(old, *c)
		n := *c
		n.wideList = b.addChain(fmt.Sprintf("%s-%d", c.wide.Name, b.lists))
		n.errorsList = b.addChain(fmt.Sprintf("%s-%d", c.errors.Name, b.lists))
		fresh = append(fresh, n)
	}
	for chunk := range slices.Chunk(list, wideChunk) {
		for i := range fresh {
			for j := range chunk {
				b.addWide(&fresh[i], &chunk[j])
			}
			if err := b.conn.Flush(); err != nil {
				return errors.Join(err, b.deleteLists(fresh))
			}
		}
	}
	for i := range fresh {
		n := &fresh[i]
		b.conn.FlushChain(n.wide)
		b.addRule(n.wide, exprs{verdict(expr.VerdictGoto, n.wideList.Name)})
		b.conn.FlushChain(n.errors)
		b.addRule(n.errors, exprs{verdict(expr.VerdictGoto, n.errorsList.Name)})
	}
	if err := b.conn.Flush(); err != nil {
		return errors.Join(err, b.deleteLists(fresh))
	}
	for i := range fresh {
		*b.wide[i] = fresh[i]
	}
	return b.deleteLists(old)
}

// deleteLists deletes lists that are not in place.
func (b *nft) deleteLists(chains []wideChains) error {
	for _, c := range chains {
		for _, list := range []*nftables.Chain{c.wideList, c.errorsList} {
			if list != nil {
				b.conn.DelChain(list)
			}
		}
	}
	return b.conn.Flush()
}

// addWide adds the rules of a selector, one for each protocol.
func (b *nft) addWide(c *wideChains, w *Wide) {
	s := c.shape
	if f := w.family(); f != 0 && (f == 4) != (s.family == ipv4) {
		return
	}
	protos := []uint8{w.Proto}
	if w.Proto == 0 {
		protos = []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_SCTP}
	}
	whose := func(kind int) exprs {
		if w.Host {
			return exprs{verdict(expr.VerdictReturn, "")}
		}
		return drop(kind)
	}
	first, last := w.ports()
	port := exprs{
		&expr.Cmp{Op: expr.CmpOpGte, Register: s.regPort(), Data: binary.BigEndian.AppendUint16(nil, first)},
		&expr.Cmp{Op: expr.CmpOpLte, Register: s.regPort(), Data: binary.BigEndian.AppendUint16(nil, last)},
	}
	dst := within(network(s.dst, s.addrLen, regKey), w.Dst)
	for _, proto := range protos {
		b.addRule(c.wideList, slices.Concat(
			receivedBy(w.Ifindex), exprs{s.proto, equal(proto)},
			within(network(s.src, s.addrLen, regKey), w.Src), dst,
			s.dport(0), port, whose(dropService)))
		b.addRule(c.errorsList, slices.Concat(
			receivedBy(w.Ifindex), exprs{s.payload(s.innerProto, 1, regKey), equal(proto)},
			within(s.payload(s.innerDst, s.addrLen, regKey), w.Src),
			within(s.payload(s.innerSrc, s.addrLen, regKey), w.Dst), dst,
			s.sport(s.innerPorts), port, whose(dropError)))
	}
}

// receivedBy holds for packets that the interface received; 0 is any.
func receivedBy(ifindex int) exprs {
	if ifindex == 0 {
		return nil
	}
	return exprs{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: regKey},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: binary.NativeEndian.AppendUint32(nil, uint32(ifindex))},
	}
}

// within holds if the address that load brings to the first register is in the
// prefix.
func within(load expr.Any, p netip.Prefix) exprs {
	if !p.IsValid() {
		return nil
	}
	size := p.Addr().BitLen() / 8
	mask := make([]byte, size)
	for i := range p.Bits() {
		mask[i/8] |= 0x80 >> (i % 8)
	}
	return exprs{
		load,
		&expr.Bitwise{SourceRegister: regKey, DestRegister: regKey, Len: uint32(size), Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: p.Masked().Addr().AsSlice()},
	}
}
