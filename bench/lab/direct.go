package lab

import (
	"net/netip"
	"strconv"
)

// Direct returns the paper's cluster rebuilt for direct routing: all hosts are on
// one switch, and the director has one NIC. The addresses are those of [Paper].
//
//	client 192.168.28.1 ---------------------+
//	director 192.168.28.167 (VIP) 10.0.100.1 +-- switch
//	servers 10.0.100.11 .12 .13 .15 ---------+
//
// The servers have the VIP on their loopback interfaces, do not answer ARP for it
// (arp_ignore, arp_announce), and reach the client without the director. In IPv6
// a host answers for addresses of the NIC that it is asked on alone.
func Direct(o PaperOptions) (Topology, error) {
	t, err := onSwitch(o)
	if err != nil {
		return t, err
	}
	for _, host := range t.Names(Server) {
		nic := host + "-0"
		t.address(host, "lo", netip.PrefixFrom(paperVIP.Addr(), 32))
		t.Routes = append(t.Routes, Route{Host: host, To: paperClient.Masked(), NIC: nic})
		t.Sysctls = append(t.Sysctls,
			Sysctl{host, "net/ipv4/conf/all/arp_ignore", "1"},
			Sysctl{host, "net/ipv4/conf/all/arp_announce", "2"})
		if o.IPv6 {
			t.address(host, "lo", netip.PrefixFrom(paperVIP6.Addr(), 128))
			t.Routes = append(t.Routes, Route{Host: host, To: paperClient6.Masked(), NIC: nic})
		}
	}
	return t, nil
}

// Full returns the same cluster for FullNAT: the servers know nothing of the VIP, and
// have no way to the client. The client has an address in their network too, 10.0.100.99,
// from which it may also ask the VIP.
func Full(o PaperOptions) (Topology, error) {
	t, err := onSwitch(o)
	if err != nil {
		return t, err
	}
	if err := o.complete(); err != nil {
		return t, err
	}
	t.Routes = nil // its address there makes them
	t.address("client", "client-0", netip.PrefixFrom(addrIn(o.Subnet, nearClient), o.Subnet.Bits()))
	if o.IPv6 {
		t.address("client", "client-0", netip.PrefixFrom(addrIn(paperServer6, nearClient), paperServer6.Bits()))
	}
	return t, nil
}

// nearClient is the number of the client's address in the servers' network.
const nearClient = 99

// onSwitch returns the paper's cluster with all hosts on one switch.
func onSwitch(o PaperOptions) (Topology, error) {
	if err := o.complete(); err != nil {
		return Topology{}, err
	}
	t := Topology{Name: o.Name, MTU: o.MTU, Hosts: []HostSpec{{"switch", Switch}}}
	plug := func(host string, role Role) (nic string) {
		nic = host + "-0"
		t.Links = append(t.Links, Link{A: End{"switch", "switch-" + strconv.Itoa(len(t.Hosts)-1)}, B: End{host, nic}})
		t.Hosts = append(t.Hosts, HostSpec{host, role})
		return nic
	}
	nic := plug("client", Client)
	t.address("client", nic, paperClient)
	t.Routes = append(t.Routes, Route{Host: "client", To: o.Subnet, NIC: nic})
	if o.IPv6 {
		t.address("client", nic, paperClient6)
		t.Routes = append(t.Routes, Route{Host: "client", To: paperServer6, NIC: nic})
	}
	nic = plug("director", Director)
	t.address("director", nic, paperVIP).VIP = true
	t.address("director", nic, netip.PrefixFrom(addrIn(o.Subnet, 1), o.Subnet.Bits()))
	if o.IPv6 {
		t.address("director", nic, paperVIP6).VIP = true
		t.address("director", nic, netip.PrefixFrom(addrIn(paperServer6, 1), paperServer6.Bits()))
	}
	for i := range o.Servers {
		host := "server" + strconv.Itoa(i+1)
		nic := plug(host, Server)
		t.address(host, nic, netip.PrefixFrom(addrIn(o.Subnet, serverNumber(i)), o.Subnet.Bits()))
		if o.IPv6 {
			t.address(host, nic, serverAddress6(i))
		}
	}
	t.Sysctls = append(t.Sysctls, o.sysctls()...)
	return t, nil
}
