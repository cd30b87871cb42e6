package guard

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"

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

// shape is a kind of packet that has its own chains: it says where things are.
// The "inner" offsets are those of the packet inside an ICMP error, from the
// start of the ICMP header on: 8 bytes later, and with nothing between its
// header and its ports.
type shape struct {
	suffix    string // of the chains' names
	family    int    // index of the sets
	etherType uint16
	icmp      uint8 // IP protocol number
	addrLen   uint32
	src, dst  uint32 // offsets in the IP header

	innerProto, innerSrc, innerDst, innerPorts uint32

	// proto loads the protocol to the first register, payload n bytes of what
	// the protocol begins with.
	proto   expr.Any
	payload func(offset, n, reg uint32) expr.Any
}

var (
	shape4 = shape{
		suffix: "4", family: ipv4, etherType: unix.ETH_P_IP, icmp: unix.IPPROTO_ICMP,
		addrLen: 4, src: 12, dst: 16,
		innerProto: 8 + 9, innerSrc: 8 + 12, innerDst: 8 + 16, innerPorts: 8 + 20,
		proto: l4proto, payload: transport,
	}
	// In IPv6 the kernel looks for the transport header only where all headers
	// lie together, not in pages (ipv6_find_hdr, net/ipv6/exthdrs_core.c). So
	// packets without extension headers are read at fixed offsets.
	shape6 = shape{
		suffix: "6", family: ipv6, etherType: unix.ETH_P_IPV6, icmp: unix.IPPROTO_ICMPV6,
		addrLen: 16, src: 8, dst: 24,
		innerProto: 8 + 6, innerSrc: 8 + 8, innerDst: 8 + 24, innerPorts: 8 + 40,
		proto: network(ipv6Next, 1, regKey),
		payload: func(offset, n, reg uint32) expr.Any {
			return network(40+offset, n, reg)
		},
	}
	shape6x = extended(shape6)
)

// extended returns the shape of IPv6 packets with extension headers.
func extended(s shape) shape {
	s.suffix, s.proto, s.payload = "6x", l4proto, transport
	return s
}

// ipv6Next is the offset of the next header's number in an IPv6 header.
const ipv6Next = 6

// extensions are the headers that the kernel steps over.
var extensions = []uint8{unix.IPPROTO_HOPOPTS, unix.IPPROTO_ROUTING, unix.IPPROTO_DSTOPTS, unix.IPPROTO_FRAGMENT}

// Registers of 4 bytes (NFT_REG32_00 and on). A key begins at the first and its
// port comes after the address, in regPort of the family.
const (
	regKey  = 8
	regAddr = regKey + 1
)

func (s *shape) regPort() uint32 { return regAddr + s.addrLen/4 }

// dport loads the destination port, the ports being at that offset.
func (s *shape) dport(ports uint32) exprs {
	return exprs{s.payload(ports+2, 2, s.regPort())}
}

// sport loads the source port of a packet that has both.
func (s *shape) sport(ports uint32) exprs {
	return append(s.dport(ports), s.payload(ports, 2, s.regPort()))
}

// build makes sets, counters and the chains that all interfaces share. For
// shape N (4, 6 or 6x), in nft's words:
//
//	chain ipN {
//		proto icmp goto icmpN
//		a later fragment return
//		proto . daddr . dport @services counter drop              (and again with port 0)
//		jump wideN
//		daddr @local return
//		proto . saddr . sport @servers counter drop               (and again with port 0)
//		proto of one with ports, saddr @networks counter drop
//	}
//	chain icmpN {
//		echo request, daddr not @local, saddr @networks counter drop
//		icmp type != { those of an error } return
//		INNER has options, or is a later fragment return
//		INNER proto . saddr . sport @services jump answerN        (and again with port 0)
//		jump errorsN
//		daddr @local return
//		INNER proto . daddr . dport @servers counter drop         (and again with port 0)
//		INNER proto of one with ports, INNER daddr @networks counter drop
//	}
//	chain answerN {
//		INNER proto . daddr . INNER sport @services counter drop  (and again with port 0)
//	}
//
// Chain ip6 begins with "nexthdr N goto ip6x" for each of the extensions.
func (b *nft) build() error {
	for _, name := range counterNames {
		b.conn.AddObj(b.counter(name))
	}
	for _, s := range []*shape{&shape4, &shape6} {
		if err := b.addSets(s); err != nil {
			return err
		}
	}
	b.addShape(&shape4)
	b.addShape(&shape6x)
	b.addShape(&shape6)
	return b.conn.Flush()
}

// addShape adds the chains of a shape.
func (b *nft) addShape(s *shape) {
	answer, icmp, ip := b.addChain("answer"+s.suffix), b.addChain("icmp"+s.suffix), b.addChain("ip"+s.suffix)
	wide := b.addWideChains(s)
	out := verdict(expr.VerdictReturn, "")
	saddr := network(s.src, s.addrLen, regAddr)
	daddr := network(s.dst, s.addrLen, regAddr)
	toHost := exprs{network(s.dst, s.addrLen, regKey), b.in(local, s), out}

	switch s {
	case &shape6:
		for _, next := range extensions {
			b.addRule(ip, exprs{s.proto, equal(next), verdict(expr.VerdictGoto, "ip"+shape6x.suffix)})
		}
	case &shape4:
		b.addRule(ip, append(masked(network(6, 2, regKey), 0x1fff), out))
	case &shape6x:
		offset := &expr.Exthdr{
			Op: expr.ExthdrOpIpv6, Type: unix.IPPROTO_FRAGMENT, Offset: 2, Len: 2, DestRegister: regKey,
		}
		b.addRule(ip, append(masked(offset, 0xfff8), out))
	}
	b.addRule(ip, exprs{s.proto, equal(s.icmp), verdict(expr.VerdictGoto, icmp.Name)})
	b.addKeyRules(ip, services, s, exprs{s.proto, daddr}, s.dport(0), drop(dropService))
	b.addRule(ip, jump(wide.wide))
	b.addRule(ip, toHost)
	b.addKeyRules(ip, servers, s, exprs{s.proto, saddr}, s.sport(0), drop(dropServer))
	b.addFromNetwork(ip, s)

	innerProto := s.payload(s.innerProto, 1, regKey)
	innerSrc := s.payload(s.innerSrc, s.addrLen, regAddr)
	innerDst := s.payload(s.innerDst, s.addrLen, regAddr)
	sport, dport := s.sport(s.innerPorts), s.dport(s.innerPorts)
	b.addEchoFromNetwork(icmp, s, toHost)
	b.addErrorFilter(icmp, s)
	b.addKeyRules(icmp, services, s, exprs{innerProto, innerSrc}, sport, jump(answer))
	b.addRule(icmp, jump(wide.errors))
	b.addRule(icmp, toHost)
	b.addKeyRules(icmp, servers, s, exprs{innerProto, innerDst}, dport, drop(dropError))
	b.addAboutNetwork(icmp, s)

	b.addKeyRules(answer, services, s, exprs{innerProto, daddr}, sport, drop(dropError))
}

// addSets makes the sets of the shape's family.
func (b *nft) addSets(s *shape) error {
	addr := [...]nftables.SetDatatype{ipv4: nftables.TypeIPAddr, ipv6: nftables.TypeIP6Addr}[s.family]
	end, err := nftables.ConcatSetType(nftables.TypeInetProto, addr, nftables.TypeInetService)
	if err != nil {
		return err
	}
	for t, name := range [numTables]string{services: "services", servers: "servers", local: "local"} {
		set := &nftables.Set{Table: b.table, Name: name + s.suffix, KeyType: end, Concatenation: true}
		if tableID(t) == local {
			set.KeyType, set.Concatenation = addr, false
		}
		if err := b.conn.AddSet(set, nil); err != nil {
			return err
		}
		b.sets[t][s.family] = set
	}
	return b.addNetworkSet(s)
}

// addErrorFilter makes the chain return on all but ICMP errors about packets
// that have ports right after their IP header; of those in IPv6 it is the next
// header's number, and thereby the sets, that tell.
func (b *nft) addErrorFilter(c *nftables.Chain, s *shape) {
	kind := s.payload(0, 1, regKey)
	out := verdict(expr.VerdictReturn, "")
	if s.family == ipv6 {
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
	b.addRule(c, exprs{s.payload(8, 1, regKey), compare(expr.CmpOpNeq, 0x45), out})
	b.addRule(c, append(masked(s.payload(8+6, 2, regKey), 0x1fff), out))
}

// addKeyRules adds two rules: if the key is in the table, with its port or with
// port 0, then do. begin loads protocol and address, port the port. The port is
// loaded for port 0, too: a packet that is too short for one does not match.
func (b *nft) addKeyRules(c *nftables.Chain, t tableID, s *shape, begin, port, do exprs) {
	anyPort := &expr.Immediate{Register: s.regPort(), Data: make([]byte, 4)}
	key := slices.Concat(begin, port)
	b.addRule(c, slices.Concat(key, exprs{b.in(t, s)}, do))
	b.addRule(c, slices.Concat(key, exprs{anyPort, b.in(t, s)}, do))
}

// in goes on if the key in the registers is in the table.
func (b *nft) in(t tableID, s *shape) expr.Any {
	set := b.sets[t][s.family]
	return &expr.Lookup{SourceRegister: regKey, SetName: set.Name, SetID: set.ID}
}

// addChain adds a chain that others jump to.
func (b *nft) addChain(name string) *nftables.Chain {
	return b.conn.AddChain(&nftables.Chain{Table: b.table, Name: name})
}

// baseName is the name of an interface's base chain.
func baseName(ifindex int) string { return fmt.Sprint("if", ifindex) }

// addBase adds the base chain of an interface: frames to this host, without a
// tag or with one that has but a priority, of IPv4 or IPv6. The EtherType is read from the frame, where the kernel
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
	for _, s := range []*shape{&shape4, &shape6} {
		b.addRule(base, exprs{
			&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: regKey},
			equal(unix.PACKET_HOST),
			&expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 2, DestRegister: regKey},
			&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: binary.BigEndian.AppendUint16(nil, s.etherType)},
			verdict(expr.VerdictGoto, "ip"+s.suffix),
		})
		for _, proto := range []uint16{unix.ETH_P_8021Q, unix.ETH_P_8021AD} {
			tag := binary.BigEndian.AppendUint16(nil, proto)
			tag = append(tag, 0, 0)
			tag = binary.BigEndian.AppendUint16(tag, s.etherType)
			b.addRule(base, exprs{
				&expr.Meta{Key: expr.MetaKeyPKTTYPE, Register: regKey},
				equal(unix.PACKET_HOST),
				&expr.Payload{Base: expr.PayloadBaseLLHeader, Offset: 12, Len: 6, DestRegister: regKey},
				&expr.Bitwise{
					SourceRegister: regKey, DestRegister: regKey, Len: 6,
					Mask: []byte{0xff, 0xff, vlanID >> 8, vlanID & 0xff, 0xff, 0xff}, Xor: make([]byte, 6),
				},
				&expr.Cmp{Op: expr.CmpOpEq, Register: regKey, Data: tag},
				verdict(expr.VerdictGoto, "ip"+s.suffix),
			})
		}
	}
}

func (b *nft) addRule(c *nftables.Chain, e exprs) {
	b.conn.AddRule(&nftables.Rule{Table: b.table, Chain: c, Exprs: e})
}

// exprs are the expressions of a rule. The rule ends at the first that does not
// hold, or that reads beyond the packet.
type exprs []expr.Any

// l4proto loads the protocol that comes after all extension headers.
var l4proto expr.Any = &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: regKey}

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
