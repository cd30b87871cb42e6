// Package peer holds what vsnat is measured and tested against, and vsnat
// itself, all behind one interface: each makes a director of a host of a
// [vsnat/bench/lab] cluster and sets up the same virtual services.
//
// The services are given as [Service] values. Who is set up with ipvsadm's
// words, vsnat and the kernel's IPVS, gets the very same text, that of [Rules].
package peer

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"vsnat/bench/lab"
)

// Service is a virtual service with masquerading and round robin over servers
// of weight 1, which every peer can do.
type Service struct {
	Proto   string // "tcp" or "udp"
	VIP     netip.AddrPort
	Servers []netip.AddrPort
}

// Rules returns services in the form that `ipvsadm -R` reads.
func Rules(services []Service) string {
	var b strings.Builder
	for _, s := range services {
		option := "-t"
		if s.Proto == "udp" {
			option = "-u"
		}
		fmt.Fprintf(&b, "-A %s %s -s rr\n", option, s.VIP)
		for _, server := range s.Servers {
			fmt.Fprintf(&b, "-a %s %s -r %s -m -w 1\n", option, s.VIP, server)
		}
	}
	return b.String()
}

// Director is the host that a peer makes a director of. Its kernel forwards
// (net.ipv4.ip_forward is 1).
type Director struct {
	Lab  *lab.Lab
	Host string // its name in the lab
}

// Running is a peer at work.
type Running struct {
	// PID is the process that forwards; 0 if the kernel does.
	PID int
	// Stop ends it and takes away all it has left in the director's namespace.
	Stop func() error
}

// Peer is one way to make a director.
type Peer interface {
	// Name is what reports call it.
	Name() string
	// Missing says in one line why it cannot run on this machine, or nothing.
	Missing(ctx context.Context, d Director) string
	// Start sets up the services. When it returns, they work.
	Start(ctx context.Context, d Director, services []Service) (*Running, error)
}
