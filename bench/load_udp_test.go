package bench

import (
	"net/netip"
	"testing"

	"vsnat/nat/wire"
)

func flowSpec(flows int) *PartSpec {
	return &PartSpec{
		Flows: flows, Frame: MinFrame, Source: netip.MustParseAddr("10.64.255.254"), Target: netip.MustParseAddrPort("192.168.28.167:5003"),
		SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2},
	}
}

// TestFlowsAreDistinctAndRight parses every frame as the director would.
func TestFlowsAreDistinctAndRight(t *testing.T) {
	const flows = 1000 // no multiple of a batch
	f, err := newFlowFrames(flowSpec(flows))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[netip.AddrPort]int{}
	for range 2 * flows / floodBatch {
		f.next()
		for _, b := range f.frames {
			eth := wire.Ethernet(b)
			if len(b) != MinFrame || eth.Dst() != [6]byte{2, 5: 2} || eth.Src() != [6]byte{2, 5: 1} {
				t.Fatalf("frame % x", b)
			}
			ip := wire.IPv4(eth.Payload())
			if !ip.IsValid(len(ip)) || !ip.ChecksumOK() || ip.TotalLen() != len(ip) {
				t.Fatalf("IP header % x", ip)
			}
			udp := wire.UDP(ip.Payload())
			if wire.Fold(wire.Sum(udp, wire.PseudoSum4(ip.Src(), ip.Dst(), 17, len(udp)))) != 0xffff {
				t.Fatalf("UDP checksum % x", ip)
			}
			if ip.Dst() != [4]byte{192, 168, 28, 167} || udp.DstPort() != 5003 {
				t.Fatalf("to %v:%d", ip.Dst(), udp.DstPort())
			}
			seen[netip.AddrPortFrom(netip.AddrFrom4(ip.Src()), udp.SrcPort())]++
		}
	}
	if len(seen) != flows {
		t.Errorf("%d flows, want %d", len(seen), flows)
	}
	// The addresses go on past the end of a byte.
	if seen[netip.MustParseAddrPort("10.65.0.1:1024")] == 0 {
		t.Error("no flow from the fourth address")
	}
	if n := testing.AllocsPerRun(10, f.next); n != 0 {
		t.Errorf("%v allocations for a batch", n)
	}
}

func TestFlowSpecIsChecked(t *testing.T) {
	for name, change := range map[string]func(*PartSpec){
		"no flow":     func(s *PartSpec) { s.Flows = 0 },
		"short frame": func(s *PartSpec) { s.Frame = MinFrame - 1 },
		"IPv6":        func(s *PartSpec) { s.Source = netip.IPv6Loopback() },
		"no MAC":      func(s *PartSpec) { s.DstMAC = nil },
	} {
		s := flowSpec(1)
		change(s)
		if _, err := newFlowFrames(s); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}
