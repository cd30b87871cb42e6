package ipvs

import (
	"encoding/binary"
	"reflect"
	"testing"

	"github.com/mdlayher/netlink"

	"vsnat/nat"
	"vsnat/sched"
)

func encode(t *testing.T, attrs attributes) []byte {
	t.Helper()
	ae := netlink.NewAttributeEncoder()
	if err := attrs(ae); err != nil {
		t.Fatal(err)
	}
	data, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func addr(a, b, c, d byte) nat.Addr { return nat.Addr{10: 0xff, 11: 0xff, 12: a, 13: b, 14: c, 15: d} }

// TestService sends a service through the kernel's form and back: what the
// kernel lists has the same attributes.
func TestService(t *testing.T) {
	for _, want := range []nat.ServiceSpec{
		{Key: nat.ServiceKey{Proto: nat.ProtoTCP, Addr: addr(10, 9, 0, 1), Port: 80}, Scheduler: "wrr", Netmask: 0xffffffff},
		{Key: nat.ServiceKey{Proto: nat.ProtoUDP, Addr: addr(10, 9, 0, 1), Port: 53}, Scheduler: "mh", Flags: sched.Flag1 | sched.Flag2, OnePacket: true, Netmask: 0xffffffff},
		{Key: nat.ServiceKey{Mark: 7}, Scheduler: "rr", Persistent: true, Timeout: 300, Netmask: 0xffffff00},
		{Key: nat.ServiceKey{Proto: nat.ProtoTCP, Addr: nat.Addr{0: 0xfd, 15: 1}, Port: 80}, Scheduler: "rr", Persistent: true, Timeout: 300, Netmask: 64},
		{Key: nat.ServiceKey{Mark: 7, V6: true}, Scheduler: "rr", Netmask: 128},
	} {
		got, err := readService(encode(t, service(&want)))
		if err != nil || !reflect.DeepEqual(got.ServiceSpec, want) {
			t.Errorf("got %+v, %v, want %+v", got.ServiceSpec, err, want)
		}
	}
}

func TestServer(t *testing.T) {
	want := nat.ServerSpec{Key: nat.ServerKey{Addr: addr(10, 2, 0, 6), Port: 8080}, Weight: 5, Upper: 10, Lower: 3}
	got, err := readServer(encode(t, server(&want)))
	if err != nil || got.ServerSpec != want {
		t.Errorf("got %+v, %v, want %+v", got.ServerSpec, err, want)
	}
	// The kernel's weight is signed: it refuses this one.
	want.Weight = -1
	if got, err = readServer(encode(t, server(&want))); err != nil || got.Weight != -1 {
		t.Errorf("weight -1 became %d, %v", got.Weight, err)
	}
}

// TestListing reads what the kernel adds to what it was told.
func TestListing(t *testing.T) {
	counters := nat.Counters{Conns: 1, InPkts: 2, OutPkts: 3, InBytes: 1 << 40, OutBytes: 5}
	stats := func(ae *netlink.AttributeEncoder) error {
		for i, v := range []uint64{counters.Conns, counters.InPkts, counters.OutPkts, counters.InBytes, counters.OutBytes} {
			ae.Uint64(uint16(statConns+i), v)
		}
		return nil
	}
	got, err := readServer(encode(t, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attrDest, func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(destActive, 6)
			ae.Uint32(destInactive, 7)
			ae.Uint32(destPersistent, 8)
			ae.Nested(destStats64, stats)
			return nil
		})
		return nil
	}))
	if err != nil || got.Active != 6 || got.Inactive != 7 || got.Persistent != 8 || got.Counters != counters {
		t.Errorf("got %+v, %v", got, err)
	}
	svc, err := readService(encode(t, func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attrService, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(svcStats64, stats)
			return nil
		})
		return nil
	}))
	if err != nil || svc.Counters != counters {
		t.Errorf("got %+v, %v", svc, err)
	}
}

// TestByteOrder holds the encoding to the kernel's mixture of byte orders.
func TestByteOrder(t *testing.T) {
	spec := nat.ServiceSpec{Key: nat.ServiceKey{Proto: nat.ProtoTCP, Addr: addr(10, 9, 0, 1), Port: 0x0102}, Scheduler: "rr", Netmask: 0xffffff00}
	err := nested(encode(t, service(&spec)), attrService, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			b := ad.Bytes()
			switch ad.Type() {
			case svcAddr:
				if len(b) != 16 || [4]byte(b) != [4]byte{10, 9, 0, 1} {
					t.Errorf("address %v", b)
				}
			case svcPort:
				if [2]byte(b) != [2]byte{1, 2} {
					t.Errorf("port %v", b)
				}
			case svcNetmask:
				if [4]byte(b) != [4]byte{255, 255, 255, 0} {
					t.Errorf("netmask %v", b)
				}
			case svcProtocol:
				if binary.NativeEndian.Uint16(b) != 6 {
					t.Errorf("protocol %v", b)
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestMalformed(t *testing.T) {
	for name, data := range map[string][]byte{"nothing": nil, "cut": {8, 0, attrDest}, "another": encode(t, timeouts(1, 2, 3))} {
		if _, err := readServer(data); err == nil {
			t.Errorf("%s: a server was read", name)
		}
		if _, err := readService(data); err == nil {
			t.Errorf("%s: a service was read", name)
		}
	}
}
