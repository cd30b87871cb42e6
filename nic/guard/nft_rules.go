package guard

import (
	"encoding/binary"
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The families, as indexes.
const (
	ipv4 = iota
	ipv6
)

// counterNames are the names of the counters by drop kind.
var counterNames = [numDrops]string{dropService: "services", dropServer: "servers", dropError: "errors"}

// family is where things are in a packet of IPv4 or IPv6. The "inner" offsets
// are those of the packet inside an ICMP error, from the start of the ICMP
// header on: 8 bytes later, and with nothing between header and ports.
type family struct {
	suffix    string
	etherType uint16
	icmp      uint8 // IP protocol number
	addrLen   uint32
	src, dst  uint32 // offsets in the IP header

	innerProto, innerSrc, innerDst, innerPorts uint32
}

var families = [2]family{
	ipv4: {
		suffix: "4", etherType: unix.ETH_P_IP, icmp: unix.IPPROTO_ICMP,
		addrLen: 4, src: 12, dst: 16,
		innerProto: 8 + 9, innerSrc: 8 + 12, innerDst: 8 + 16, innerPorts: 8 + 20,
	},
	ipv6: {
		suffix: "6", etherType: unix.ETH_P_IPV6, icmp: unix.IPPROTO_ICMPV6,
		addrLen: 16, src: 8, dst: 24,
		innerProto: 8 + 6, innerSrc: 8 + 8, innerDst: 8 + 24, innerPorts: 8 + 40,
	},
}

// Registers of 4 bytes (NFT_REG32_00 and on). A key begins at the first and its
// port comes after the address, in regPort of the family.
const (
	regKey  = 8
	regAddr = regKey + 1
)

func (f *family) regPort() uint32 { return regAddr + f.addrLen/4 }

// build makes sets, counters and the chains that all interfaces share. For
// family N (4 or 6), in nft's words:
//
//	chain ipN {
//		meta l4proto icmp goto icmpN
//		ip frag-off & 0x1fff != 0 return
//		meta l4proto . ip daddr . th dport @services counter drop    (and again with port 0)
//		ip daddr @local return
//		meta l4proto . ip saddr . th sport @servers counter drop     (and again with port 0)
//	}
//	chain icmpN {
//		icmp type != { of an error } return
//		INNER is not a first fragment return
//		INNER proto . saddr . sport @services jump answerN           (and again with port 0)
//		ip daddr @local return
//		INNER proto . daddr . dport @servers counter drop            (and again with port 0)
//	}
//	chain answerN {
//		INNER proto . ip daddr . INNER sport @services counter drop  (and again with port 0)
//	}
func (b *nft) build() error {
	for _, name := range counterNames {
		b.conn.AddObj(b.counter(name))
	}
	for i := range families {
		f := &families[i]
		if err := b.addSets(i); err != nil {
			return err
		}
		answer, icmp, ip := b.addChain("answer"+f.suffix), b.addChain("icmp"+f.suffix), b.addChain("ip"+f.suffix)

		daddr := network(f.dst, f.addrLen, regAddr)
		saddr := network(f.src, f.addrLen, regAddr)
		proto := &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regKey}
		toHost := append(exprs{network(f.dst, f.addrLen, regKey)}, b.in(local, i), verdict(expr.VerdictReturn, ""))

		b.addRule(ip, exprs{proto, equal(f.icmp), verdict(expr.VerdictGoto, icmp.Name)})
		b.addRule(ip, append(f.laterFragment(), verdict(expr.VerdictReturn, "")))
		b.addKeyRules(ip, services, i, exprs{proto, daddr}, transport(2, 2, f.regPort()), drop(dropService))
		b.addRule(ip, toHost)
		b.addKeyRules(ip, servers, i, exprs{proto, saddr}, transport(0, 2, f.regPort()), drop(dropServer))

		innerProto := transport(f.innerProto, 1, regKey)
		innerSrc := transport(f.innerSrc, f.addrLen, regAddr)
		innerDst := transport(f.innerDst, f.addrLen, regAddr)
		sport := transport(f.innerPorts, 2, f.regPort())
		dport := transport(f.innerPorts+2, 2, f.regPort())
		b.addErrorFilter(icmp, i)
		b.addKeyRules(icmp, services, i, exprs{innerProto, innerSrc}, sport, exprs{verdict(expr.VerdictJump, answer.Name)})
		b.addRule(icmp, toHost)
		b.addKeyRules(icmp, servers, i, exprs{innerProto, innerDst}, dport, drop(dropError))

		b.addKeyRules(answer, services, i, exprs{innerProto, daddr}, sport, drop(dropError))
	}
	return b.conn.Flush()
}

// addSets makes the sets of a family.
func (b *nft) addSets(i int) error {
	addr := [2]nftables.SetDatatype{ipv4: nftables.TypeIPAddr, ipv6: nftables.TypeIP6Addr}[i]
	end, err := nftables.ConcatSetType(nftables.TypeInetProto, addr, nftables.TypeInetService)
	if err != nil {
		return err
	}
	for t, name := range [numTables]string{services: "services", servers: "servers", local: "local"} {
		s := &nftables.Set{Table: b.table, Name: name + families[i].suffix, KeyType: end, Concatenation: true}
		if tableID(t) == local {
			s.KeyType, s.Concatenation = addr, false
		}
		if err := b.conn.AddSet(s, nil); err != nil {
			return err
		}
		b.sets[t][i] = s
	}
	return nil
}

// addErrorFilter makes the chain return on all but ICMP errors about packets
// that have ports right after their IP header.
func (b *nft) addErrorFilter(c *nftables.Chain, i int) {
	kind := transport(0, 1, regKey)
	out := verdict(expr.VerdictReturn, "")
	if i == ipv6 {
		b.addRule(c, exprs{kind, compare(expr.CmpOpLt, 1), out})
		b.addRule(c, exprs{kind, compare(expr.CmpOpGt, 4), out})
		return
	}
	others := exprs{kind}
	for _, t := range []uint8{3, 4, 11, 12} {
		others = append(others, compare(expr.CmpOpNeq, t))
	}
	b.addRule(c, append(others, out))
	// Version 4 and a header of 20 bytes.
	b.addRule(c, exprs{transport(8, 1, regKey), compare(expr.CmpOpNeq, 0x45), out})
	b.addRule(c, append(masked(transport(8+6, 2, regKey), ipv4Offset), out))
}

// addKeyRules adds two rules: if the key is in the table, with its port or with
// port 0, then do. begin loads protocol and address.
func (b *nft) addKeyRules(c *nftables.Chain, t tableID, i int, begin exprs, port expr.Any, do exprs) {
	anyPort := &expr.Immediate{Register: families[i].regPort(), Data: make([]byte, 4)}
	for _, p := range []expr.Any{port, anyPort} {
		rule := append(exprs{}, begin...)
		// A packet too short for ports must not get as far as port 0, and not
		// what has none; the sets hold but protocols with ports.
		if p == anyPort {
			rule = append(rule, port)
		}
		rule = append(rule, p, b.in(t, i))
		b.addRule(c, append(rule, do...))
	}
}

// in goes on if the key in the registers is in the table.
func (b *nft) in(t tableID, i int) expr.Any {
	s := b.sets[t][i]
	return &expr.Lookup{SourceRegister: regKey, SetName: s.Name, SetID: s.ID}
}

// addChain adds a chain that others jump to.
func (b *nft) addChain(name string) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{Table: b.table, Name: name})
}

// baseName is the name of an interface's base chain.
func baseName(ifindex int) string { return fmt.Sprint("if", ifindex) }

// addBase adds the base chain of an interface: frames to this host, without a
// tag, of IPv4 or IPv6. The EtherType is read from the frame, where the kernel
// shows a tag that is kept beside the frame, too; meta protocol would not.
func (b *nft) addBase(dev *net.Interface) {
	accept := nftables.ChainPolicyAccept
	base := b.conn.AddChain(&nftables.Chain{
		Table:    b.table,
		Name:     baseName(dev.Index),
		Type:     nftables.ChainTypeFilter,
		Hooknum:  nftables.ChainHookIngress,
		Priority: nftables.ChainPriorityFirst,
		Policy:   &accept,
		Device:   dev.Name,
	})
	for i := range families {
		f := &families[i]
		b.addRule(base, exprs{
			&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: regKey},
			equal(unix.PACKET_HOST),
			&expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 2, DestRegister: regKey},
			&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: binary.BigEndian.AppendUint16(nil, f.etherType)},
			verdict(expr.VerdictGoto, "ip"+f.suffix),
		})
	}
}

func (b *nft) addRule(c *nftables.Chain, e exprs) {
	b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: c, Exprs: e})
}

// exprs are the expressions of a rule. The rule ends at the first that does not
// hold, or that reads beyond the packet.
type exprs []expr.Any

// network loads n bytes of the IP header.
func network(offset, n, reg uint32) expr.Any {
	return &expr.Payload{Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: n, DestRegister: reg}
}

// transport loads n bytes of what follows the IP header and its options or
// extensions.
func transport(offset, n, reg uint32) expr.Any {
	return &expr.Payload{Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: n, DestRegister: reg}
}

// compare compares the byte in the first register.
func compare(op expr.CmpOp, b uint8) expr.Any {
	return &expr.Cmp{Op: op, Register: regKey, Data: []byte{b}}
}

func equal(b uint8) expr.Any { return compare(expr.CmpOpEq, b) }

// The bits of the fragment offset beside its flags (RFC 791 section 3.1, RFC
// 8200 section 4.5).
const (
	ipv4Offset = 0x1fff
	ipv6Offset = 0xfff8
)

// laterFragment holds for fragments other than the first.
func (f *family) laterFragment() exprs {
	if f.etherType == unix.ETH_P_IP {
		return masked(network(6, 2, regKey), ipv4Offset)
	}
	return masked(&expr.Exthdr{
		Op: expr.ExthdrOpIpv6, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, DestRegister: regKey,
	}, ipv6Offset)
}

// masked holds if any of the bits are set in the two bytes that load reads.
func masked(load expr.Any, bits uint16) exprs {
	return exprs{
		load,
		&expr.Bitwise{
			SourceRegister: regKey, DestRegister: regKey, Len: 2,
			Mask: binary.BigEndian.AppendUint16(nil, bits), Xor: make([]byte, 2),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: regKey, Data: make([]byte, 2)},
	}
}

func verdict(kind expr.VerdictKind, chain string) expr.Any {
	return &expr.Verdict{Kind: kind, Chain: chain}
}

// drop counts the packet and drops it.
func drop(kind int) exprs { return exprs{objref(kind), verdict(expr.VerdictDrop, "")} }
