package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vsnat/bench/lab"
	"vsnat/bench/peer"
)

// The site of [Path]. The real servers are one host with four addresses, so
// that nothing but the director stands between it and the client. A second
// link between the two is the cable: what the endpoints do without a director.
//
//	        192.168.28.1      .167 (VIP)      10.0.100.1       10.0.100.11 .12 .13 .14
//	client ---------------------- director ----------------------- server
//	       172.31.0.1                                   172.31.0.2
//	       --------------------------------------------------------
//
// Clients have all addresses of 10.64.0.0/10, and of 10.128.0.0/10 on the cable.
const (
	serverHost  = "server"
	clientNIC   = "client-0"
	cableNIC    = "client-1"
	directorNIC = "director-0" // towards the client
	serverNIC   = "server-0"
	serverCable = "server-1"
)

var (
	pathVIP     = netip.MustParseAddr("192.168.28.167")
	pathServers = []netip.Addr{
		netip.MustParseAddr("10.0.100.11"), netip.MustParseAddr("10.0.100.12"),
		netip.MustParseAddr("10.0.100.13"), netip.MustParseAddr("10.0.100.14"),
	}
	cableServer  = netip.MustParseAddr("172.31.0.2")
	clients      = netip.MustParsePrefix("10.64.0.0/10")
	cableClients = netip.MustParsePrefix("10.128.0.0/10")
)

func pathTopology() lab.Topology {
	end := func(host string, n int) lab.End { return lab.End{Host: host, NIC: host + "-" + strconv.Itoa(n)} }
	address := func(e lab.End, prefix string) lab.Address {
		return lab.Address{End: e, Prefix: netip.MustParsePrefix(prefix)}
	}
	t := lab.Topology{
		Name: "path",
		Hosts: []lab.HostSpec{
			{Name: clientHost, Role: lab.Client}, {Name: directorHost, Role: lab.Director}, {Name: serverHost, Role: lab.Server},
		},
		Links: []lab.Link{
			{A: end(clientHost, 0), B: end(directorHost, 0)},
			{A: end(directorHost, 1), B: end(serverHost, 0)},
			{A: end(clientHost, 1), B: end(serverHost, 1)},
		},
		Addresses: []lab.Address{
			address(end(clientHost, 0), "192.168.28.1/24"),
			address(end(directorHost, 0), "192.168.28.167/24"),
			address(end(directorHost, 1), "10.0.100.1/24"),
			address(end(clientHost, 1), "172.31.0.1/24"),
			address(end(serverHost, 1), "172.31.0.2/24"),
		},
		Routes: []lab.Route{
			{Host: clientHost, To: netip.MustParsePrefix("10.0.100.0/24"), Via: pathVIP},
			{Host: directorHost, To: clients, Via: netip.MustParseAddr("192.168.28.1")},
			{Host: serverHost, To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.100.1")},
			{Host: serverHost, To: cableClients, Via: netip.MustParseAddr("172.31.0.1")},
		},
		Sysctls: []lab.Sysctl{
			{Host: directorHost, Key: "net/ipv4/ip_forward", Value: "1"},
			{Host: clientHost, Key: "net/ipv4/ip_local_port_range", Value: "1024 65535"},
		},
	}
	for _, a := range pathServers {
		t.Addresses = append(t.Addresses, address(end(serverHost, 0), a.String()+"/24"))
	}
	return t
}

// services are what every peer sets up.
func services() (all []peer.Service) {
	for _, s := range []struct {
		proto string
		port  uint16
	}{{"udp", portUDP}, {"tcp", portPage}, {"tcp", portSink}, {"tcp", portEcho}} {
		service := peer.Service{Proto: s.proto, VIP: netip.AddrPortFrom(pathVIP, s.port)}
		for _, a := range pathServers {
			service.Servers = append(service.Servers, netip.AddrPortFrom(a, s.port))
		}
		all = append(all, service)
	}
	return all
}

// ownClients has the client take all of the clients' addresses for its own.
func ownClients(h *lab.Host) error {
	err := h.Do(func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		for _, p := range []netip.Prefix{clients, cableClients} {
			err = errors.Join(err, netlink.RouteAdd(&netlink.Route{
				LinkIndex: lo.Attrs().Index, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL, Scope: unix.RT_SCOPE_HOST,
				Dst: &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), 32)},
			}))
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("bench: clients' addresses: %w", err)
	}
	return nil
}

// sink counts the UDP packets that arrive at the real servers and drops them,
// before the server's own stack spends time on them: nftables' hook ingress.
type sink struct {
	conn  *nftables.Conn
	table *nftables.Table
}

func newSink(h *lab.Host) (*sink, error) {
	s := new(sink)
	err := h.Do(func() (err error) {
		// The socket stays in the host.
		s.conn, err = nftables.New(nftables.AsLasting())
		if err != nil {
			return err
		}
		s.table = s.conn.AddTable(&nftables.Table{Family: nftables.TableFamilyNetdev, Name: "vsnat-bench"})
		s.conn.AddObj(&nftables.CounterObj{Table: s.table, Name: "arrived"})
		for _, nic := range []string{serverNIC, serverCable} {
			chain := s.conn.AddChain(&nftables.Chain{
				Name: nic, Table: s.table, Type: nftables.ChainTypeFilter,
				Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter, Device: nic,
			})
			s.conn.AddRule(&nftables.Rule{Table: s.table, Chain: chain, Exprs: []expr.Any{
				&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP)},
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}},
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, portUDP)},
				&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: "arrived"},
				&expr.Verdict{Kind: expr.VerdictDrop},
			}})
		}
		return s.conn.Flush()
	})
	if err != nil {
		return nil, fmt.Errorf("bench: counting what arrives (nftables): %w", err)
	}
	return s, nil
}

// count returns how many packets have arrived. Its time is halfway between
// asking and answer.
func (s *sink) count() (Sample, error) {
	before := monotonic()
	objs, err := s.conn.GetObjects(s.table)
	if err != nil {
		return Sample{}, fmt.Errorf("bench: counting what arrives: %w", err)
	}
	for _, o := range objs {
		if c, ok := o.(*nftables.CounterObj); ok {
			return Sample{Time: before + (monotonic()-before)/2, Count: c.Packets}, nil
		}
	}
	return Sample{}, errors.New("bench: counting what arrives: the counter is gone")
}

func (s *sink) close() error { return s.conn.CloseLasting() }

// conntrackMax is the machine's own bound on tracked connections. Only the
// machine's own network namespace may change it, and it holds for all.
const conntrackMax = "/proc/sys/net/netfilter/nf_conntrack_max"

// raiseConntrack makes room for n connections. undo gives the bound back; what
// was not possible is told in a line.
func raiseConntrack(n int) (undo func() error, note string) {
	undo = func() error { return nil }
	b, err := os.ReadFile(conntrackMax)
	if err != nil {
		return undo, ""
	}
	old := strings.TrimSpace(string(b))
	if is, err := strconv.Atoi(old); err != nil || is == 0 || is >= n {
		return undo, ""
	}
	if err := os.WriteFile(conntrackMax, []byte(strconv.Itoa(n)), 0); err != nil {
		return undo, fmt.Sprintf("nf_conntrack_max is %s and cannot be changed from here: nftables cannot hold more connections", old)
	}
	return func() error {
		if err := os.WriteFile(conntrackMax, []byte(old), 0); err != nil {
			return fmt.Errorf("bench: giving nf_conntrack_max back its %s: %w", old, err)
		}
		return nil
	}, fmt.Sprintf("nf_conntrack_max was %s and is %d while this runs", old, n)
}

// settle is how long what is on its way may take to arrive.
const settle = 20 * time.Millisecond
