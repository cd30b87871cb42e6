package neigh

import (
	"testing"

	"golang.org/x/sys/unix"

	"vsnat/nic"
	"vsnat/nic/netns"
)

// With net.ipv4.nexthop_compat_mode off, routes name nexthop objects and say
// nothing of links and gateways.
func TestNexthopObjectsOfKernel(t *testing.T) {
	h, peer := newHost(t), newHost(t)
	eth0, eth1 := h.wire("eth0", peer, "peer0"), h.wire("eth1", peer, "peer1")
	h.addr(eth0, "10.9.0.1/24")
	h.addr(eth1, "10.8.0.1/24")
	h.sysctl("ipv4/nexthop_compat_mode", "0")
	w := h.watch(Options{})

	var sock *socket
	h.must(netns.Do(h.ns, func() (err error) {
		sock, err = openSocket()
		return err
	}))
	defer sock.close()
	attr := func(b []byte, kind uint16, v ...byte) []byte {
		b = native.AppendUint16(b, uint16(4+len(v)))
		b = native.AppendUint16(b, kind)
		return append(append(b, v...), make([]byte, -len(v)&3)...)
	}
	num := func(n int) []byte { return native.AppendUint32(nil, uint32(n)) }
	set := func(kind uint16, body []byte) {
		t.Helper()
		err := sock.request(kind, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK, body, func(uint16, []byte) {})
		if err != nil {
			t.Fatal(err)
		}
	}
	nexthop := func(id, index int, gw ...byte) {
		t.Helper()
		b := attr([]byte{unix.AF_INET, 7: 0}, unix.NHA_ID, num(id)...)
		set(unix.RTM_NEWNEXTHOP, attr(attr(b, unix.NHA_OIF, num(index)...), unix.NHA_GATEWAY, gw...))
	}
	route := func(dst byte, id int) {
		t.Helper()
		b := attr([]byte{unix.AF_INET, 8, 0, 0, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, 0, unix.RTN_UNICAST, 11: 0}, unix.RTA_DST, dst, 0, 0, 0)
		set(unix.RTM_NEWROUTE, attr(b, rtaNHID, num(id)...))
	}
	nexthop(1, eth0.Attrs().Index, 10, 9, 0, 2)
	nexthop(2, eth1.Attrs().Index, 10, 8, 0, 2)
	group := attr([]byte{unix.AF_UNSPEC, 7: 0}, unix.NHA_ID, num(3)...)
	set(unix.RTM_NEWNEXTHOP, attr(group, unix.NHA_GROUP, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0))
	route(21, 1)
	route(23, 3)
	hop(t, w, "21.0.0.1", nic.Hop{State: nic.HopUnresolved, Index: eth0.Attrs().Index, NextHop: addrOf("10.9.0.2"), Src: addrOf("10.9.0.1")})
	await(t, w, "both members of the group are used", func(r nic.Routes) bool {
		seen := map[nic.Addr]bool{}
		for i := range 64 {
			hop := r.Lookup(ip{0, v4Prefix | 23<<24 | uint64(i)}.addr())
			seen[hop.NextHop] = hop.State == nic.HopUnresolved
		}
		return len(seen) == 2 && seen[addrOf("10.9.0.2")] && seen[addrOf("10.8.0.2")]
	})
	nexthop(1, eth0.Attrs().Index, 10, 9, 0, 3) // replaced; no route changes
	hop(t, w, "21.0.0.1", nic.Hop{State: nic.HopUnresolved, NextHop: addrOf("10.9.0.3")})
}
