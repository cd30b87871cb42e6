package nat

import (
	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// IPsec. A packet of ESP or AH has no ports: it belongs to the connection by which
// its two ends have agreed on keys, UDP from port 500 to port 500 (ISAKMP, RFC
// 2408), and begins none itself (ip_vs_proto_ah_esp.c).

// isakmp is the port of both ends of that connection.
const isakmp = 500

// ipsecProtos are the protocols of such packets.
var ipsecProtos = []uint8{wire.ProtoESP, wire.ProtoAH}

// isIPsec reports whether the packet, whole or a fragment, is of ESP or AH. IPv6's
// AH is an extension header and does not count, here as in the kernel.
func isIPsec(p *wire.Packet) bool {
	return p.Proto == wire.ProtoESP || p.Proto == wire.ProtoAH && !p.V6
}

// ipsec deals with such a packet: one from a client, or from a real server.
func (w *Worker) ipsec(j *job) Verdict {
	p := w.pkt
	hash := w.e.table.Hash(ProtoUDP, p.Src, isakmp)
	key := conntrack.Key{Client: p.Src, ClientPort: isakmp, Virtual: p.Dst, VirtualPort: isakmp, Proto: ProtoUDP}
	s := w.e.table.Shard(hash)
	s.Lock()
	if c := s.In(hash, &key); c != nil && c.Method() != conntrack.Full {
		j.hash = hash
		v := w.inboundLocked(j, s, hash, &key)
		s.Unlock()
		return v
	}
	s.Unlock()
	hash = w.e.table.Hash(ProtoUDP, p.Dst, isakmp)
	s = w.e.table.Shard(hash)
	s.Lock()
	key = conntrack.Key{Client: p.Dst, Virtual: p.Src, ClientPort: isakmp, VirtualPort: isakmp, Proto: ProtoUDP}
	c := s.Out(conntrack.Hint{}, hash, &key)
	if c == nil || c.Method() == conntrack.Full {
		s.Unlock()
		return w.stray(j, Endpoint{Proto: p.Proto, Addr: p.Src})
	}
	v := w.reply(j, s, c)
	s.Unlock()
	return v
}

// connProto returns the protocol of the connections that packets of a protocol
// belong to.
func connProto(p *wire.Packet) uint8 {
	if isIPsec(p) {
		return ProtoUDP
	}
	return p.Proto
}

// quotedFlow is quoted, and gives what is quoted of IPsec, fragments too, the ports
// of its connection.
func (w *Worker) quotedFlow(j *job, q *wire.Packet) bool {
	if w.quoted(j, q) {
		return true
	}
	if w.pkt.Frag || q.Src == q.Dst || !isIPsec(q) {
		return false
	}
	q.SrcPort, q.DstPort = isakmp, isakmp
	return true
}

// withIPsec returns the endpoints and, for those of ISAKMP's connections among them,
// those of the packets that belong to these.
func withIPsec(list []Endpoint) []Endpoint {
	for _, ep := range list {
		if ep.Proto != ProtoUDP || ep.Port != isakmp && ep.Port != 0 {
			continue
		}
		for _, proto := range ipsecProtos {
			list = append(list, Endpoint{Proto: proto, Addr: ep.Addr})
		}
	}
	return list
}
