package lab

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"vsnat/bench/lab"
)

var update = flag.Bool("update", false, "write the golden files")

// oneLAN is a cluster for direct routing: everyone on one switch, the VIP on
// every server's loopback.
func oneLAN() lab.Topology {
	t := lab.Topology{Name: "lan", Hosts: []lab.HostSpec{{Name: "switch", Role: lab.Switch}}}
	for _, h := range []struct {
		name string
		role lab.Role
		addr string
	}{
		{"client", lab.Client, "10.1.0.1/24"},
		{"director", lab.Director, "10.1.0.2/24"},
		{"server1", lab.Server, "10.1.0.11/24"},
		{"server2", lab.Server, "10.1.0.12/24"},
	} {
		nic := lab.End{Host: h.name, NIC: h.name + "-0"}
		t.Hosts = append(t.Hosts, lab.HostSpec{Name: h.name, Role: h.role})
		t.Links = append(t.Links, lab.Link{A: lab.End{Host: "switch", NIC: "to-" + h.name}, B: nic})
		t.Addresses = append(t.Addresses, lab.Address{End: nic, Prefix: netip.MustParsePrefix(h.addr)})
		if h.role == lab.Server {
			t.Addresses = append(t.Addresses, lab.Address{End: lab.End{Host: h.name, NIC: "lo"}, Prefix: netip.MustParsePrefix("10.1.0.80/32"), VIP: true})
		}
	}
	return t
}

// cablePerServer is the paper's own wiring: a NIC of the director for each
// server.
func cablePerServer() lab.Topology {
	t := lab.Topology{Name: "cables", Hosts: []lab.HostSpec{{Name: "client", Role: lab.Client}, {Name: "director", Role: lab.Director}}}
	add := func(a, b lab.End, pa, pb string) {
		t.Links = append(t.Links, lab.Link{A: a, B: b})
		t.Addresses = append(t.Addresses,
			lab.Address{End: a, Prefix: netip.MustParsePrefix(pa)}, lab.Address{End: b, Prefix: netip.MustParsePrefix(pb)})
	}
	add(lab.End{Host: "client", NIC: "c0"}, lab.End{Host: "director", NIC: "d0"}, "10.1.0.1/24", "10.1.0.2/24")
	for _, n := range []string{"1", "2", "3"} {
		t.Hosts = append(t.Hosts, lab.HostSpec{Name: "server" + n, Role: lab.Server})
		add(lab.End{Host: "director", NIC: "d" + n}, lab.End{Host: "server" + n, NIC: "s" + n}, "10.2."+n+".1/24", "10.2."+n+".2/24")
	}
	return t
}

// twoDirectors cannot be drawn: the client's cable skips a column.
func twoDirectors() lab.Topology {
	t := cablePerServer()
	t.Name = "odd"
	t.Links = append(t.Links, lab.Link{A: lab.End{Host: "client", NIC: "c9"}, B: lab.End{Host: "server1", NIC: "s9"}})
	return t
}

func TestStatusIsDrawn(t *testing.T) {
	since := time.Date(2026, 11, 23, 22, 31, 5, 0, time.UTC)
	now := since.Add(3*time.Minute + 12*time.Second)
	must := func(o lab.PaperOptions) lab.Topology {
		top, err := lab.Paper(o)
		if err != nil {
			t.Fatal(err)
		}
		return top
	}
	direct, err := lab.Direct(lab.PaperOptions{Name: "direct", Servers: 2, IPv6: true})
	if err != nil {
		t.Fatal(err)
	}
	page := func(host, what string, pid int, served uint64, waiting int64) Process {
		return Process{What: what, Host: host, PID: pid, Since: since, State: "running", Page: &lab.PageStats{Served: served, Waiting: waiting}}
	}
	for _, tt := range []struct {
		golden string
		state  State
	}{
		{"paper", State{Topology: must(lab.PaperOptions{}), Processes: []Process{
			page("server1", "page :80 712/s", 4713, 1234, 2),
			page("server2", "page :80 712/s", 4714, 1234, 0),
			page("server3", "page :80 712/s", 4715, 1233, 0),
			{What: "page :80 712/s", Host: "server4", PID: 4716, Since: since, State: "signal: killed", Log: "/run/vsnat-lab/paper/server4.log"},
			{What: "vsnat run", Host: "director", PID: 4717, Since: since, State: "running"},
		}}},
		{"ipv6", State{UserNamespace: true, Topology: must(lab.PaperOptions{Name: "ipv6", Servers: 2, IPv6: true})}},
		{"lan", State{Topology: oneLAN()}},
		{"direct", State{Topology: direct}},
		{"cables", State{Topology: cablePerServer()}},
		{"odd", State{Topology: twoDirectors()}},
	} {
		t.Run(tt.golden, func(t *testing.T) {
			s := tt.state
			s.Name, s.Since, s.Supervisor = s.Topology.Name, since, 4711
			var b strings.Builder
			if err := writeStatus(&b, &s, now); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(b.String()) {
				if len(line) > maxWidth+1 {
					t.Errorf("%d columns: %s", len(line)-1, line)
				}
				for i := range len(line) {
					if c := line[i]; c != '\n' && (c < ' ' || c > '~') {
						t.Errorf("byte %#x in %q", c, line)
					}
				}
			}
			file := filepath.Join("testdata", tt.golden+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got\n%s\nwant\n%s", b.String(), want)
			}
		})
	}
}

// All clusters that `vsnat lab up' makes can be drawn.
func TestClustersAreDrawn(t *testing.T) {
	for name, make := range map[string]func(lab.PaperOptions) (lab.Topology, error){"paper": lab.Paper, "direct": lab.Direct, "full": lab.Full} {
		for _, ipv6 := range []bool{false, true} {
			top, err := make(lab.PaperOptions{IPv6: ipv6})
			if err != nil {
				t.Fatal(err)
			}
			if drawing, ok := draw(&top); !ok {
				t.Errorf("%s, IPv6 %v: not drawn\n%s", name, ipv6, drawing)
			}
		}
	}
}

func TestSwitchesInARowAreOneSegment(t *testing.T) {
	top := lab.Topology{Name: "row"}
	for _, n := range []string{"a", "b", "c"} {
		top.Hosts = append(top.Hosts, lab.HostSpec{Name: "s" + n, Role: lab.Switch}, lab.HostSpec{Name: n, Role: lab.Server})
		top.Links = append(top.Links, lab.Link{A: lab.End{Host: "s" + n, NIC: n + "1"}, B: lab.End{Host: n, NIC: n + "0"}})
	}
	top.Links = append(top.Links,
		lab.Link{A: lab.End{Host: "sa", NIC: "ab"}, B: lab.End{Host: "sb", NIC: "ba"}},
		lab.Link{A: lab.End{Host: "sb", NIC: "bc"}, B: lab.End{Host: "sc", NIC: "cb"}},
		lab.Link{A: lab.End{Host: "sc", NIC: "ca"}, B: lab.End{Host: "sa", NIC: "ac"}}) // and a ring
	all := segments(&top)
	if len(all) != 1 || len(all[0].nics) != 3 {
		t.Fatalf("%d segments, the first with %v", len(all), all[0].nics)
	}
}

func TestAge(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                      "0s",
		1500 * time.Millisecond:           "1s",
		59 * time.Second:                  "59s",
		3*time.Minute + 12*time.Second:    "3m12s",
		5*time.Hour + 2*time.Minute:       "5h2m",
		12*24*time.Hour + 3*time.Hour + 1: "12d3h",
	} {
		if got := age(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}
