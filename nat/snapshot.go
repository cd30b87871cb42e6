package nat

import (
	"net/netip"

	"vsnat/nat/wire"
)

// snapshot is what workers look things up in: immutable, replaced whole.
type snapshot struct {
	services map[Endpoint]*service
	marked   map[markKey]*service
	rules    []MarkRule
	ftp      bool // a service has port 21
	anyPort  bool // a service has port 0
	// vips has every address that services have, or had while connections of
	// theirs are left.
	vips addrSet
	// backends has the addresses of the servers, those included that were deleted
	// and still have connections.
	backends addrSet
	// owned has the VIP endpoints, and servers the real servers' endpoints,
	// whose frames the guard keeps from the host. Port 0 is all ports.
	owned, servers map[Endpoint]struct{}
	// masq has the endpoints of masquerading servers, with protocol 0 those of a
	// mark's service, if nat_icmp_send is on.
	masq map[Endpoint]struct{}
	// talkers are the servers that begin connections themselves, by their endpoints.
	talkers map[Endpoint]*dest
	wide    []Wide
	// tunnels has where tunnels end: by the protocol of the outer header and, of
	// GUE, the port.
	tunnels map[Endpoint]struct{}
	dests   []*dest // by server number; 0 is none
	// pools by name; ranges are the ports of theirs that are ours, and locals the
	// addresses these are on.
	pools    map[string]*portPool
	ranges   []PortRange
	locals   addrSet
	inside   []inside // networks that are masqueraded
	networks []netip.Prefix
	settings Settings
	helpers  helperPorts
	defences defences
}

// markKey is a firewall mark of one family's packets.
type markKey struct {
	mark uint32
	v6   bool
}

const (
	ftpPort     = 21
	ftpDataPort = 20
	// unprivileged is the first port that a passive FTP data connection is
	// looked for at (net.ipv4.ip_unprivileged_port_start).
	unprivileged = 1024
)

// service finds the service of a packet without connection
// (ip_vs_service_find): the one of its mark, else that of its destination, else
// that of FTP's control port, whose clients open data connections to other
// ports, else the one of all ports.
func (s *snapshot) service(mark uint32, p *wire.Packet) *service {
	if mark != 0 {
		if svc := s.marked[markKey{mark, p.V6}]; svc != nil {
			return svc
		}
	}
	k := Endpoint{Proto: p.Proto, Addr: p.Dst, Port: p.DstPort}
	svc := s.services[k]
	if svc == nil && s.ftp && p.Proto == ProtoTCP && (p.DstPort == ftpDataPort || p.DstPort >= unprivileged) {
		k.Port = ftpPort
		svc = s.services[k]
	}
	if svc == nil && s.anyPort {
		k.Port = 0
		svc = s.services[k]
	}
	return svc
}

func (s *snapshot) dest(id uint32) *dest {
	if int(id) < len(s.dests) {
		return s.dests[id]
	}
	return nil
}
