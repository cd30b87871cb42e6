package nat

import (
	"net/netip"
	"testing"

	"vsnat/nat/wire"
)

// A server takes connections from the moment that the scheduler knows it: the
// snapshot that names it comes a little later.
func TestServerThatIsBeingAddedTakesConnections(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-A -t 192.0.2.1:81 -s rr")
	to := netip.MustParseAddrPort("192.0.2.1:81")
	b.e.Update(func(tx *Tx) {
		key := ServiceKey{Proto: ProtoTCP, Addr: to.Addr().As16(), Port: 81}
		if err := tx.AddServer(key, ServerSpec{Key: ServerKey{Addr: rip.Addr().As16(), Port: 81}, Weight: 1}); err != nil {
			t.Fatal(err)
		}
		for _, flags := range []uint8{wire.SYN, wire.ACK} {
			if v, _ := b.in(clientNIC, packet(ProtoTCP, client, to, flags, nil)); v != forwarded {
				t.Errorf("flags %#x: %v (%v)", flags, v, v.Reason)
			}
		}
	})
	if c := b.e.Total(); c.Conns != 1 || c.InPkts != 2 {
		t.Errorf("counted %+v", c)
	}
}

