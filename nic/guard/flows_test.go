package guard

import (
	"net/netip"
	"testing"
)

// A flow is the guard's from the moment that it is added until it is removed, and
// no other one of the same address is.
func TestFlows(t *testing.T) {
	l := newLab(t)
	g := l.guard(t, TCX)
	f := g.Flows()
	if f == nil {
		t.Fatal("there is no set")
	}
	for _, tt := range []struct{ client, vip netip.Addr }{{client4, vip4}, {client6, vip6}} {
		client, vip := tt.client.As16(), tt.vip.As16()
		expect(t, "before: "+tt.vip.String(), refused, dial, l.client, tt.vip, freePort)
		f.Add(&client, &vip, freePort)
		expect(t, "added: "+tt.vip.String(), silence, dial, l.client, tt.vip, freePort)
		expect(t, "added, UDP: "+tt.vip.String(), refused, datagram, l.client, tt.vip, freePort)
		expect(t, "another port: "+tt.vip.String(), refused, dial, l.client, tt.vip, freePort+2)
		f.Remove(&client, &vip, freePort)
		expect(t, "removed: "+tt.vip.String(), refused, dial, l.client, tt.vip, freePort)
		other := tt.client.Next().As16()
		f.Add(&other, &vip, freePort)
		expect(t, "another client's: "+tt.vip.String(), refused, dial, l.client, tt.vip, freePort)
	}
	n := newLab(t).guard(t, NFT)
	if n.Flows() != nil {
		t.Error("the nft kind has a set")
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	client, vip := client4.As16(), vip4.As16()
	f.Add(&client, &vip, freePort) // into nothing
}
