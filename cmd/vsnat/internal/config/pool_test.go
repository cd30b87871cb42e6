package config

import (
	"fmt"
	"strings"
	"testing"

	"vsnat/cmd/vsnat/internal/control"
)

func TestPools(t *testing.T) {
	cfg, problems := Parse(File{"vsnat.toml", []byte(`
[defaults]
method = "full"
pool = "edge"
[pool.edge]
address = ["10.0.0.1", "2001:db8::1"]
ports = "2000-2999"
[pool.default]
ports = 7
[[masquerade]]
network = ["10.0.0.9/24", "10.0.1.0/24"]
egress = "eth0"
[[masquerade]]
network = "10.9.0.0/16"
pool = "edge"
[service.a]
listen = "192.0.2.1:80"
proxy_protocol = true
server = ["10.0.0.11:8080", { address = "10.0.0.12", method = "masq" }, { address = "10.0.0.13", pool = "default" }]
`)})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if got := fmt.Sprint(cfg.Pools); got != "[edge 10.0.0.1,2001:db8::1 ports 2000-2999 default by route ports 7-7]" {
		t.Errorf("pools %s", got)
	}
	if got := fmt.Sprint(cfg.Inside); got != "[10.0.0.0/24 --nic eth0 10.0.1.0/24 --nic eth0 10.9.0.0/16 --pool edge]" {
		t.Errorf("networks %s", got)
	}
	if v := cfg.Services[0].Virtual[0]; v.ProxyProtocol != control.ProxyV2 {
		t.Errorf("PROXY protocol %q", v.ProxyProtocol)
	}
	var servers []string
	for _, s := range cfg.Services[0].Virtual[0].Servers {
		servers = append(servers, fmt.Sprintf("%s:%d %s %q", s.Address, s.Port, s.Method, s.Pool))
	}
	if got := strings.Join(servers, ", "); got != `10.0.0.11:8080 full "edge", 10.0.0.12:80 masq "", 10.0.0.13:80 full "default"` {
		t.Errorf("servers %s", got)
	}
}

func TestPoolProblems(t *testing.T) {
	for text, want := range map[string]string{
		"[[pool]]\nports = 1":             "a pool has a name: write [pool.NAME]",
		"pool.a = 1":                      "a is a number; a pool is a table: [pool.a]",
		"[pool.default]\nports = \"9-8\"": "ports 9 to 8 are in the wrong order",
		"[pool.default]\naddress = [\"10.0.0.1\", \"10.0.0.1\"]":                                   "10.0.0.1 is there already, at",
		"[pool.default]\naddress = \"224.0.0.1\"":                                                  "224.0.0.1 is no address for a NIC",
		"[service.a]\nlisten = \"192.0.2.1:53/udp\"\nproxy_protocol = true\nserver = \"10.0.0.1\"": "proxy_protocol is for TCP, and this is udp",
		"[pool.a]":                       "no server and no network has the pool \"a\"",
		"[[masquerade]]\negress = \"a\"": "[[masquerade]] needs network",
		"[[masquerade]]\nnetwork = [\"10.0.0.1/8\", \"10.0.0.2/8\"]":                                      "10.0.0.0/8 is masqueraded already, at",
		"[[masquerade]]\nnetwork = \"10.0.0.1/8\"\npool = \"a\"":                                          "there is no pool \"a\"; add [pool.a]",
		"[service.a]\nlisten = \"192.0.2.1:80\"\nserver = { address = \"10.0.0.1\", pool = \"default\" }": "pool is for method = \"full\", and here it is \"masq\"",
	} {
		_, problems := Parse(File{"vsnat.toml", []byte(text)})
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%q:\n%v, want one that says %s", text, problems, want)
		}
	}
}
