package nic_test

import (
	"net/netip"
	"testing"

	"vsnat/nic"
)

func TestFlows(t *testing.T) {
	f := make(nic.Flows, nic.FlowSlots)
	dst := netip.MustParseAddr("192.0.2.1").As16()
	for _, s := range []string{"198.51.100.7", "2001:db8::7"} {
		client := netip.MustParseAddr(s).As16()
		other := netip.MustParseAddr(s).Next().As16()
		f.Add(&client, &dst, 50000)
		f.Add(&client, &dst, 50000)
		f.Remove(&client, &dst, 50000)
		if !f.Has(&client, &dst, 50000) || f.Has(&client, &dst, 50001) || f.Has(&other, &dst, 50000) || f.Has(&client, &other, 50000) {
			t.Errorf("%s: the set has not just what was added", s)
		}
		f.Remove(&client, &dst, 50000)
		if f.Has(&client, &dst, 50000) {
			t.Errorf("%s: still there", s)
		}
	}
	// Flows spread: clients one after the other, and their ports, share few counters.
	used := map[uint32]bool{}
	const n = 10000
	addr := netip.MustParseAddr("10.0.0.0")
	for i := range n {
		client := addr.As16()
		used[nic.FlowSlot(&client, &dst, uint16(30000+i%100))] = true
		addr = addr.Next()
	}
	if len(used) < n*85/100 {
		t.Errorf("%d flows have %d counters", n, len(used))
	}
}
