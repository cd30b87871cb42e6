package bench

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"vsnat/nat"
	"vsnat/nat/wire"
)

// TestHandDealsRightPackets parses what both directions are dealt.
func TestHandDealsRightPackets(t *testing.T) {
	servers := make([]uint8, 1000)
	for i := range servers {
		servers[i] = uint8(i % bedServerCount)
	}
	for name, list := range map[string][]uint8{"clients": nil, "servers": servers} {
		h := newHand(32, wire.ACK, 0, len(servers), list)
		flows := map[uint32]bool{}
		for range 100 {
			h.deal()
			for i := range h.batch.N {
				var p wire.Packet
				eth := wire.Ethernet(h.batch.Frames[i].Eth())
				if got := p.Parse(eth); got != wire.Parsed {
					t.Fatalf("%s: %v", name, got)
				}
				ip := wire.IPv4(eth[p.L3:p.End])
				tcp := wire.TCP(ip.Payload())
				if !ip.ChecksumOK() || !tcp.ChecksumOK4(ip.Src(), ip.Dst()) || tcp.Flags() != wire.ACK {
					t.Fatalf("%s: % x", name, eth)
				}
				client, other := nat.AddrPort(p.Src, p.SrcPort), nat.AddrPort(p.Dst, p.DstPort)
				want := "192.0.2.1:80"
				a := client.Addr().As4()
				if list != nil {
					client, other = other, client
					a = client.Addr().As4()
				}
				flow := (uint32(a[1])<<16|uint32(a[2])<<8|uint32(a[3]))*portsPerSource + uint32(client.Port()) - firstPort
				if list != nil {
					b := addr4(bedFirstServer + flow%bedServerCount)
					want = nat.AddrPort(mapped(uint32(b[0])<<24|uint32(b[1])<<16|uint32(b[2])<<8|uint32(b[3])), 80).String()
				}
				if other.String() != want || flow >= uint32(len(servers)) {
					t.Fatalf("%s: flow %d with %v, want %s", name, flow, other, want)
				}
				flows[flow] = true
			}
		}
		if len(flows) < len(servers)/2 {
			t.Errorf("%s: only %d flows in 3200 packets", name, len(flows))
		}
		if n := testing.AllocsPerRun(10, h.deal); n != 0 {
			t.Errorf("%s: %v allocations for a batch", name, n)
		}
	}
}

// TestEngine measures a little of everything.
func TestEngine(t *testing.T) {
	r, err := Engine(context.Background(), EngineConfig{Sizes: []int{100, 1000}, Rounds: 1, Packets: 6400, New: 6400, Pair: 1000, Window: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cost) != 2*len(engineBatches) || len(r.Memory) != 2 || len(r.New) != 1 {
		t.Fatalf("%+v", r)
	}
	var b strings.Builder
	r.WriteReport(&b)
	for _, want := range []string{"TARGET a packet, 1 thousand connections", "TARGET new connections", "TARGET allocations a packet"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, &b)
		}
	}
	if _, err := json.Marshal(r); err != nil {
		t.Error(err)
	}
}

func TestEngineStopsWhenAsked(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Engine(ctx, EngineConfig{Sizes: []int{100}, Rounds: 1, Packets: 64, New: 64, Pair: 64, Window: time.Millisecond}); err == nil {
		t.Error("it went on")
	}
}
