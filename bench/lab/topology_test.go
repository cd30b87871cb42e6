package lab

import (
	"encoding/json"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
)

func TestPaperHasThePapersAddresses(t *testing.T) {
	top := paper(t, PaperOptions{})
	if err := top.Validate(); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, h := range top.Hosts {
		for _, a := range top.Addresses {
			if a.Host == h.Name {
				s := h.Name + " " + a.Prefix.String()
				if a.VIP {
					s += " VIP"
				}
				got = append(got, s)
			}
		}
	}
	want := []string{
		"client 192.168.28.1/24",
		"director 192.168.28.167/24 VIP",
		"director 10.0.100.1/24",
		"server1 10.0.100.11/24",
		"server2 10.0.100.12/24",
		"server3 10.0.100.13/24",
		"server4 10.0.100.15/24",
	}
	if !slices.Equal(got, want) {
		t.Errorf("addresses:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestPaperOptions(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       PaperOptions
		last    string // address of the last server
		refused string // part of the error
	}{
		{name: "48 servers", o: PaperOptions{Servers: 48}, last: "10.0.100.59"},
		{name: "most servers", o: PaperOptions{Servers: 243}, last: "10.0.100.254"},
		{name: "one too many", o: PaperOptions{Servers: 244}, refused: "no room for 244 servers"},
		{name: "negative", o: PaperOptions{Servers: -1}, refused: "no room"},
		{name: "other subnet", o: PaperOptions{Subnet: netip.MustParsePrefix("172.16.5.77/25")}, last: "172.16.5.15"},
		{name: "tiny subnet", o: PaperOptions{Subnet: netip.MustParsePrefix("172.16.5.0/28")}, refused: "no room for 4"},
		{name: "tiny subnet, three", o: PaperOptions{Servers: 3, Subnet: netip.MustParsePrefix("172.16.5.0/28")}, last: "172.16.5.13"},
		{name: "subnet too wide", o: PaperOptions{Subnet: netip.MustParsePrefix("10.0.0.0/8")}, refused: "24 bits or more"},
		{name: "ipv6 subnet", o: PaperOptions{Subnet: netip.MustParsePrefix("fd00::/120")}, refused: "IPv4"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top, err := Paper(tt.o)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) {
					t.Errorf("error %v, want %q", err, tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if err := top.Validate(); err != nil {
				t.Fatal(err)
			}
			servers := top.Names(Server)
			if got := top.Addr(servers[len(servers)-1]).String(); got != tt.last {
				t.Errorf("last server has %s, want %s", got, tt.last)
			}
		})
	}
}

func TestValidateNamesWhatIsWrong(t *testing.T) {
	net1 := netip.MustParsePrefix("10.1.0.0/24")
	for _, tt := range []struct {
		name  string
		spoil func(*Topology)
		want  string
	}{
		{"no role", func(t *Topology) { t.Hosts[0].Role = 0 }, "client has no role"},
		{"two of a name", func(t *Topology) { t.Hosts[1].Name = "client" }, "two hosts client"},
		{"slash", func(t *Topology) { t.Hosts[0].Name = "a/b" }, `"a/b"`},
		{"link to nowhere", func(t *Topology) { t.Links[0].A.Host = "nobody" }, `no host "nobody"`},
		{"link to itself", func(t *Topology) { t.Links[0].A.Host = "director" }, "one host"},
		{"long NIC", func(t *Topology) { t.Links[0].A.NIC = "sixteen-letters-" }, "1 to 15 bytes"},
		{"bridge's name", func(t *Topology) { t.Links[0].A.NIC = bridge }, "not br0"},
		{"two NICs of a name", func(t *Topology) { t.Links[1].A = t.Links[0].B }, "two NICs director-0"},
		{"address on no NIC", func(t *Topology) { t.Addresses[0].NIC = "eth9" }, `no NIC "eth9"`},
		{"address on a switch", func(t *Topology) { t.Addresses[0].End = End{"switch", "switch-0"} }, "is a switch"},
		{"zero address", func(t *Topology) { t.Addresses[0].Prefix = netip.Prefix{} }, "not valid"},
		{"route with host bits", func(t *Topology) { t.Routes[0].To = netip.MustParsePrefix("10.1.0.1/24") }, "no network"},
		{"route to nowhere", func(t *Topology) { t.Routes[0] = Route{Host: "client", To: net1} }, "neither a gateway nor a NIC"},
		{"route of nobody", func(t *Topology) { t.Routes[0].Host = "x" }, `no host "x"`},
		{"route over no NIC", func(t *Topology) { t.Routes[0].NIC = "x" }, "client has no NIC x"},
		{"sysctl of nobody", func(t *Topology) { t.Sysctls[0].Host = "x" }, `no host "x"`},
		{"sysctl of the machine", func(t *Topology) { t.Sysctls[0].Key = "kernel/panic" }, "not the path of a network setting"},
		{"sysctl that climbs", func(t *Topology) { t.Sysctls[0].Key = "net/../kernel/panic" }, "not the path of a network setting"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			top := paper(t, PaperOptions{})
			tt.spoil(&top)
			if err := top.Validate(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestTopologyGoesThroughJSON(t *testing.T) {
	want := paper(t, PaperOptions{IPv6: true, MTU: 9000})
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Topology
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if err := json.Unmarshal([]byte(`{"hosts":[{"name":"x","role":"router"}]}`), &got); err == nil {
		t.Error("the role router was taken")
	}
}

func TestMACs(t *testing.T) {
	top := paper(t, PaperOptions{Servers: 200})
	seen := make(map[string]End)
	for _, l := range top.Links {
		for _, e := range []End{l.A, l.B} {
			mac := MAC(top.Name, e)
			if len(mac) != 6 || mac[0]&1 != 0 || mac[0]&2 == 0 {
				t.Errorf("%v: %v is not a unicast, locally administered address", e, mac)
			}
			if other, ok := seen[mac.String()]; ok {
				t.Errorf("%v and %v share %v", e, other, mac)
			}
			seen[mac.String()] = e
		}
	}
	// Written down once: a capture of today must match one of next year.
	if got, want := MAC("paper", End{"client", "client-0"}).String(), "fa:7a:9f:39:ee:24"; got != want {
		t.Errorf("the client's address is %s, want %s", got, want)
	}
	if a, b := MAC("one", End{"h", "n"}), MAC("two", End{"h", "n"}); a.String() == b.String() {
		t.Errorf("two clusters share %v", a)
	}
	// The separator keeps ("ab","c") and ("a","bc") apart.
	if a, b := MAC("x", End{"ab", "c"}), MAC("x", End{"a", "bc"}); a.String() == b.String() {
		t.Errorf("ab-c and a-bc share %v", a)
	}
}
