package lab

import (
	"fmt"
	"net/netip"
	"strconv"
)

// PaperOptions changes the paper's cluster. The zero value changes nothing.
type PaperOptions struct {
	Name    string       // "" is "paper"
	Servers int          // 0 is the paper's 4
	Subnet  netip.Prefix // of the servers, IPv4, at most a /24; the zero value is 10.0.100.0/24
	MTU     int          // bytes of IP packet; 0 is 1500
	Forward bool         // the director's kernel forwards (ip_forward=1): servers can be asked directly
	IPv6    bool         // every NIC has an IPv6 address too, see [Paper]
}

// The paper's addresses.
var (
	paperClient = netip.MustParsePrefix("192.168.28.1/24")
	paperVIP    = netip.MustParsePrefix("192.168.28.167/24")
	paperSubnet = netip.MustParsePrefix("10.0.100.0/24")
)

// Their counterparts in IPv6: fd00:28::1, fd00:28::167, fd00:100::1, ::11 …
var (
	paperClient6 = netip.MustParsePrefix("fd00:28::1/64")
	paperVIP6    = netip.MustParsePrefix("fd00:28::167/64")
	paperServer6 = netip.MustParsePrefix("fd00:100::/64")
)

// Paper returns the paper's cluster:
//
//	client 192.168.28.1 -- 192.168.28.167 (VIP) director 10.0.100.1 -- switch -- servers 10.0.100.11 .12 .13 .15
//
// The servers' gateway is the director, and the client has a route to them
// through it. Further servers have the numbers from 16 on. The hosts are called
// client, director, switch, server1, server2 and so on, their NICs client-0,
// director-0 (the client's side), director-1, server1-0, switch-0 and so on.
// It is an error to ask for more servers than the subnet has room for.
func Paper(o PaperOptions) (Topology, error) {
	if err := o.complete(); err != nil {
		return Topology{}, err
	}
	t := Topology{
		Name:  o.Name,
		MTU:   o.MTU,
		Hosts: []HostSpec{{"client", Client}, {"director", Director}, {"switch", Switch}},
		Links: []Link{
			{A: End{"client", "client-0"}, B: End{"director", "director-0"}},
			{A: End{"director", "director-1"}, B: End{"switch", "switch-0"}},
		},
	}
	inside := netip.PrefixFrom(addrIn(o.Subnet, 1), o.Subnet.Bits())
	t.address("client", "client-0", paperClient)
	t.address("director", "director-0", paperVIP).VIP = true
	t.address("director", "director-1", inside)
	t.Routes = append(t.Routes, Route{Host: "client", To: o.Subnet, Via: paperVIP.Addr()})
	inside6 := netip.PrefixFrom(addrIn(paperServer6, 1), paperServer6.Bits())
	if o.IPv6 {
		t.address("client", "client-0", paperClient6)
		t.address("director", "director-0", paperVIP6).VIP = true
		t.address("director", "director-1", inside6)
		t.Routes = append(t.Routes, Route{Host: "client", To: paperServer6, Via: paperVIP6.Addr()})
	}
	for i := range o.Servers {
		name := "server" + strconv.Itoa(i+1)
		nic := name + "-0"
		t.Hosts = append(t.Hosts, HostSpec{name, Server})
		t.Links = append(t.Links, Link{A: End{"switch", "switch-" + strconv.Itoa(i+1)}, B: End{name, nic}})
		t.address(name, nic, netip.PrefixFrom(addrIn(o.Subnet, serverNumber(i)), o.Subnet.Bits()))
		t.Routes = append(t.Routes, Route{Host: name, To: netip.MustParsePrefix("0.0.0.0/0"), Via: inside.Addr()})
		if o.IPv6 {
			t.address(name, nic, serverAddress6(i))
			t.Routes = append(t.Routes, Route{Host: name, To: netip.MustParsePrefix("::/0"), Via: inside6.Addr()})
		}
	}

	t.Sysctls = o.sysctls()
	if o.IPv6 {
		t.Sysctls = append(t.Sysctls, Sysctl{"director", "net/ipv6/conf/all/forwarding", o.forward()})
	}
	return t, nil
}

// complete puts the paper's values where the options have none, and checks them.
func (o *PaperOptions) complete() error {
	if o.Name == "" {
		o.Name = "paper"
	}
	if o.Servers == 0 {
		o.Servers = 4
	}
	if !o.Subnet.IsValid() {
		o.Subnet = paperSubnet
	}
	o.Subnet = o.Subnet.Masked()
	if !o.Subnet.Addr().Is4() || o.Subnet.Bits() < 24 {
		return fmt.Errorf("lab: subnet %v of the servers: want an IPv4 network with a prefix of 24 bits or more", o.Subnet)
	}
	if room := 1<<(32-o.Subnet.Bits()) - 1; o.Servers < 0 || serverNumber(o.Servers-1) >= room {
		return fmt.Errorf("lab: %v has no room for %d servers: they have the numbers 11, 12, 13, 15, 16 and so on", o.Subnet, o.Servers)
	}
	return nil
}

// forward is the value of the director's forwarding settings.
func (o *PaperOptions) forward() string {
	if o.Forward {
		return "1"
	}
	return "0"
}

// sysctls are the settings of the client and the director.
func (o *PaperOptions) sysctls() []Sysctl {
	return []Sysctl{
		{"director", "net/ipv4/ip_forward", o.forward()},
		// 100,000 requests with a connection each: more ports than the usual
		// 28,232, and those in TIME_WAIT can be had again.
		{"client", "net/ipv4/ip_local_port_range", "1024 65535"},
		{"client", "net/ipv4/tcp_tw_reuse", "1"},
	}
}

// serverNumber returns the last byte of the address of the i-th real server:
// the paper has no .14.
func serverNumber(i int) int {
	if i < 3 {
		return 11 + i
	}
	return 12 + i
}

// serverAddress6 returns the IPv6 address of the i-th real server: its number in
// decimal digits, so that it reads like its IPv4 counterpart.
func serverAddress6(i int) netip.Prefix {
	n, _ := strconv.ParseUint(strconv.Itoa(serverNumber(i)), 16, 16)
	return netip.PrefixFrom(addrIn(paperServer6, int(n)), paperServer6.Bits())
}

// addrIn returns the address of a network with number n, below 65536.
func addrIn(p netip.Prefix, n int) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	b[len(b)-2] += byte(n >> 8)
	b[len(b)-1] += byte(n)
	a, _ := netip.AddrFromSlice(b)
	return a
}

// address appends an address and returns it; the pointer holds until the next
// call.
func (t *Topology) address(host, nic string, p netip.Prefix) *Address {
	t.Addresses = append(t.Addresses, Address{End: End{host, nic}, Prefix: p})
	return &t.Addresses[len(t.Addresses)-1]
}
