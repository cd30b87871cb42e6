package control

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
)

// MarkRule gives packets a firewall mark, for services that are named by one.
// The first rule that takes a packet counts. What is left out stands for any.
type MarkRule struct {
	// Mark 0 leaves packets without a mark, so that no later rule takes them.
	Mark      uint32       `json:"mark"`
	Src       netip.Prefix `json:"src,omitzero"`
	Dst       netip.Prefix `json:"dst,omitzero"`
	Protocol  Protocol     `json:"protocol,omitempty"`
	FirstPort uint16       `json:"first_port,omitempty"` // of the destination
	LastPort  uint16       `json:"last_port,omitempty"`
	NIC       string       `json:"nic,omitempty"` // name of the NIC that receives
}

// String returns the rule as the options of vsnat mark add.
func (r MarkRule) String() string {
	var b strings.Builder
	fmt.Fprint(&b, r.Mark)
	if r.Src.IsValid() {
		fmt.Fprintf(&b, " --src %s", r.Src)
	}
	if r.Dst.IsValid() {
		fmt.Fprintf(&b, " --dst %s", r.Dst)
	}
	if r.Protocol != "" {
		fmt.Fprintf(&b, " --proto %s", r.Protocol)
	}
	if p := r.Ports(); p != "" {
		fmt.Fprintf(&b, " --dport %s", p)
	}
	if r.NIC != "" {
		fmt.Fprintf(&b, " --nic %s", r.NIC)
	}
	return b.String()
}

// Ports returns the destination ports as "80" or "80-443", "" for all.
func (r *MarkRule) Ports() string {
	switch {
	case r.FirstPort == 0 && r.LastPort == 0:
		return ""
	case r.FirstPort == r.LastPort:
		return fmt.Sprint(r.FirstPort)
	}
	return fmt.Sprintf("%d-%d", r.FirstPort, r.LastPort)
}

// check reports what no rule can mean, and masks the prefixes.
func (r *MarkRule) check() error {
	for _, p := range []*netip.Prefix{&r.Src, &r.Dst} {
		if !p.IsValid() && *p != (netip.Prefix{}) {
			return malformed(syscall.EINVAL, "mark rule: %s is no prefix", p)
		}
		if p.IsValid() {
			if err := checkAddress("mark rule", p.Addr()); err != nil {
				return err
			}
			*p = p.Masked()
		}
	}
	if r.Protocol != "" && r.Protocol.Number() == 0 {
		return malformed(syscall.EINVAL, "mark rule: protocol %q is none of tcp, udp, sctp", r.Protocol)
	}
	if r.FirstPort > r.LastPort {
		return malformed(syscall.EINVAL, "mark rule: ports %d to %d are in the wrong order", r.FirstPort, r.LastPort)
	}
	return nil
}
