package nat

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"vsnat/conntrack"
	"vsnat/nat/wire"
)

// Firewall marks. IPVS takes a packet's mark from the kernel's packet filter,
// which vsnat's packets do not pass; its own rules stand in for it. A packet
// that they mark is judged as one to a virtual service even when its
// destination is no VIP: in the kernel that takes a route that delivers it to
// the host.

// Selector tells packets apart by where they come from and go to. The zero
// value of a field stands for any.
type Selector struct {
	Src, Dst netip.Prefix
	Proto    uint8 // [ProtoTCP], [ProtoUDP] or [ProtoSCTP]
	// FirstPort and LastPort bound the destination port, in host byte order.
	FirstPort, LastPort uint16
	NIC                 int // ifindex of the receiving NIC
}

// MarkRule gives packets a firewall mark; 0 leaves them without one.
type MarkRule struct {
	Selector
	Mark uint32
}

// SetMarkRules replaces the rules that mark packets. The first rule that takes a
// packet counts. A connection to an address that is no VIP lasts only as long
// as some rule marks its packets.
func (tx *Tx) SetMarkRules(rules []MarkRule) error {
	for i := range rules {
		if why := rules[i].wrong(); why != "" {
			return refuse("set-marks", fmt.Sprintf("rule %d", i+1), syscall.EINVAL, why)
		}
	}
	rules = slices.Clone(rules)
	if tx.rehearsal != nil {
		tx.rehearseRules(rules)
		return nil
	}
	tx.e.rules = rules
	tx.e.dirty = true
	return nil
}

// MarkRules returns the rules in force.
func (tx *Tx) MarkRules() []MarkRule {
	if tx.rehearsal != nil {
		return slices.Clone(tx.rehearsal.rules)
	}
	return slices.Clone(tx.e.rules)
}

// wrong tells what is wrong with the selector, if anything.
func (s *Selector) wrong() string {
	for _, p := range []netip.Prefix{s.Src, s.Dst} {
		if p.Addr().Is4In6() {
			return fmt.Sprintf("%s is IPv4-mapped: write it as IPv4", p)
		}
	}
	switch {
	case s.Proto != 0 && s.Proto != ProtoTCP && s.Proto != ProtoUDP && s.Proto != ProtoSCTP:
		return fmt.Sprintf("protocol %d is none of TCP (6), UDP (17) and SCTP (132)", s.Proto)
	case s.FirstPort > s.LastPort:
		return fmt.Sprintf("ports %d to %d are in the wrong order", s.FirstPort, s.LastPort)
	case s.Src.IsValid() && s.Dst.IsValid() && s.Src.Addr().Is4() != s.Dst.Addr().Is4():
		return "source and destination are of different address families"
	}
	return ""
}

func (s *Selector) allPorts() bool { return s.FirstPort == 0 && s.LastPort == 0 }

func (s *Selector) takes(proto uint8) bool { return s.Proto == 0 || s.Proto == proto }

// of reports whether the selector may take packets of the address family.
func (s *Selector) of(v6 bool) bool {
	for _, p := range []netip.Prefix{s.Src, s.Dst} {
		if p.IsValid() && p.Addr().Is6() != v6 {
			return false
		}
	}
	return true
}

// overlaps reports whether the selectors may have a destination in common.
func (s *Selector) overlaps(o *Selector) bool {
	return (s.Proto == 0 || o.takes(s.Proto)) &&
		(!s.Dst.IsValid() || !o.Dst.IsValid() || s.Dst.Overlaps(o.Dst)) &&
		(s.allPorts() || o.allPorts() || s.FirstPort <= o.LastPort && o.FirstPort <= s.LastPort)
}

// mark returns the mark of a packet that the NIC received, 0 for none.
func (s *snapshot) mark(p *wire.Packet, nic int) uint32 {
	if len(s.rules) == 0 {
		return 0
	}
	src, dst := netip.AddrFrom16(p.Src).Unmap(), netip.AddrFrom16(p.Dst).Unmap()
	for i := range s.rules {
		if s.rules[i].matches(p, src, dst, nic) {
			return s.rules[i].Mark
		}
	}
	return 0
}

// matches reports whether the selector takes the packet from src to dst that
// the NIC received.
func (s *Selector) matches(p *wire.Packet, src, dst netip.Addr, nic int) bool {
	return s.takes(p.Proto) && (s.NIC == 0 || s.NIC == nic) &&
		(s.allPorts() || s.FirstPort <= p.DstPort && p.DstPort <= s.LastPort) &&
		(!s.Dst.IsValid() || s.Dst.Contains(dst)) && (!s.Src.IsValid() || s.Src.Contains(src))
}

// mark returns the packet's mark, which is looked for once.
func (w *Worker) mark(j *job) uint32 {
	if !j.classified {
		j.mark, j.classified = w.snap.mark(w.pkt, w.index), true
	}
	return j.mark
}

// forMark reports whether a packet to no VIP is a client's by its mark. What
// belongs to a connection as the server's answer is not: the kernel looks for
// that first.
func (w *Worker) forMark(j *job) bool {
	if w.mark(j) == 0 {
		return false
	}
	p := w.pkt
	s := w.e.table.Shard(j.hash)
	s.Lock()
	defer s.Unlock()
	key := answerKey(p)
	return s.Out(conntrack.Hint{}, j.hash, &key) == nil
}
