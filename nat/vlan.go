package nat

import (
	"vsnat/nat/wire"
	"vsnat/nic"
)

// VLAN tags. To Linux, and so to the engine, a VLAN of a NIC is an interface of
// its own, such as eth0.10, whose frames have no tag: what leaves there gets one
// from the kernel. A tagged frame of a NIC that has no such interface would be
// lost on the host. It is judged like one without a tag, and keeps its tag if it, or
// what answers it, leaves by the same NIC; by another it leaves as frames leave
// there.

// vlanSet is a set of VLANs.
type vlanSet [4096 / 64]uint64

// of makes it the VLANs of the NIC that have an interface.
func (s *vlanSet) of(links []nic.Link, index int) {
	*s = vlanSet{}
	for i := range links {
		if l := &links[i]; l.Parent == index {
			s[l.VLAN&nic.VLANID/64] |= 1 << (l.VLAN % 64)
		}
	}
}

func (s *vlanSet) has(vlan uint16) bool { return s[vlan&nic.VLANID/64]&(1<<(vlan%64)) != 0 }

// untag reports whether a frame that is not plainly one of IP is judged
// nonetheless: it has one tag, of a VLAN without an interface. The tag stands
// beside the frame then. One that has but a priority is none (vlan_do_receive in
// net/8021q/vlan_core.c and __netif_receive_skb_core).
func (w *Worker) untag(f *nic.Frame) bool {
	if f.VLANProto == 0 && !f.TakeTag() || w.vlans.has(f.VLAN) {
		return false
	}
	if f.VLAN&nic.VLANID == 0 {
		f.VLANProto = 0
	}
	t := wire.Ethernet(f.Eth()).Type()
	return t == wire.TypeIPv4 || t == wire.TypeIPv6
}

// mapTag takes the tag off a frame that leaves by another NIC than it came in by.
func (w *Worker) mapTag(f *nic.Frame, hop *nic.Hop) {
	if f.VLANProto != 0 && hop.Index != w.index {
		f.VLANProto = 0
	}
}

// tagAnswer gives a frame of ours the tag of the frame that it answers, or is a
// part of, if it leaves by the NIC that had received that.
func (w *Worker) tagAnswer(f, to *nic.Frame, port int) {
	f.VLANProto = 0
	if to != nil && to.VLANProto != 0 && port == w.index {
		f.VLAN, f.VLANProto = to.VLAN, to.VLANProto
	}
}
