package e2e

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/daemon"
)

// TestLatency reads the record of real packets: all parts of it are there, they
// add up, and it can be begun anew.
func TestLatency(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct("--budget", "50ms")
	s.cluster("rr")
	s.must("director", bin("vsnat"), "latency", "-t", web, "--record")
	s.pages(40)
	var l daemon.Latency
	s.eventually("all packets are measured", func() bool {
		l = report[daemon.Latency](s, "latency")
		return l.Receive.Count >= 40*6
	})
	if l.Budget != 50e6 || l.Verdict.Count != l.Receive.Count || l.Pickup.Count != l.Receive.Count {
		t.Errorf("budget %d, %d verdicts, %d sent, %d received", l.Budget, l.Verdict.Count, l.Pickup.Count, l.Receive.Count)
	}
	if len(l.NICs) != 2 || l.NICs[0].Receive.Count+l.NICs[1].Receive.Count != l.Receive.Count {
		t.Errorf("NICs %+v", l.NICs)
	}
	if len(l.Services) != 1 || l.Services[0].Service.String() != "tcp:"+web || l.Services[0].Receive.Count != l.Receive.Count {
		t.Errorf("services %+v", l.Services)
	}
	if len(l.Slowest) == 0 {
		t.Fatal("no packet was slow")
	}
	for i := range l.Slowest {
		p := &l.Slowest[i]
		if sum := p.WakeUp + p.Ring + p.Parts.Verdict + p.Send; sum != p.Total || p.WakeUp < 0 || p.Ring < 0 {
			t.Errorf("packet %d took %d ns, its parts are %d together: %+v", i, p.Total, sum, p)
		}
		if i > 0 && p.Total > l.Slowest[i-1].Total {
			t.Errorf("packet %d is slower than the one before", i)
		}
		if p.Service == nil || p.Service.String() != "tcp:"+web || !strings.HasPrefix(p.Server, "10.0.100.") || p.Verdict != "forwarded" {
			t.Errorf("packet %d: %+v", i, p)
		}
	}
	if out := s.must("director", bin("vsnat"), "latency"); !strings.Contains(out, "wake-up ") || !strings.Contains(out, "scheduling gaps") {
		t.Errorf("vsnat latency:\n%s", out)
	}
	out := s.must("director", bin("vsnat"), "latency", "--slowest", "3", "--json")
	if err := json.Unmarshal([]byte(out), &l); err != nil || len(l.Slowest) != 3 {
		t.Fatalf("%v, %d slow packets:\n%s", err, len(l.Slowest), out)
	}
	// What was decided stays what it was when the service has gone.
	s.must("director", bin("vsnat"), "ipvsadm", "-D", "-t", web)
	for _, p := range append(l.Slowest, report[daemon.Latency](s, "latency").Slowest...) {
		d := p.Decision
		if d == nil || d.NIC != p.NIC || d.Verdict != "forward" || d.Connection == nil || d.Connection.Virtual.String() != web ||
			d.Connection.Destination.String() != p.Server || len(d.Out) != 1 || d.Out[0].NIC == p.NIC || d.Out[0].Headers.TTL != d.Packet.TTL-1 ||
			netip.AddrPortFrom(d.Packet.Src, d.Packet.SrcPort).String() != p.Source || d.Packet.SrcMAC == "" || d.NextHop == nil {
			t.Errorf("decided %+v\nof %+v", d, p)
		}
	}
	out = s.must("director", bin("vsnat"), "latency", "--slowest", "1", "--decisions")
	if !strings.Contains(out, ", leaves") || !strings.Contains(out, "link-layer destination") {
		t.Errorf("vsnat latency --decisions:\n%s", out)
	}
	s.must("director", bin("vsnat"), "latency", "--reset")
	if l := report[daemon.Latency](s, "latency"); l.Receive.Count != 0 || len(l.Slowest) != 0 {
		t.Errorf("after a reset: %d packets, %d slow ones", l.Receive.Count, len(l.Slowest))
	}
}
