package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// parse reads a text that has nothing wrong.
func parse(t *testing.T, text string) *Config {
	t.Helper()
	cfg, problems := Parse(File{"vsnat.toml", []byte(text)})
	if len(problems) > 0 {
		t.Fatalf("%v\n%s", problems, text)
	}
	return cfg
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

func TestSimple(t *testing.T) {
	cfg := parse(t, `
[service.web]
listen = "192.0.2.1:80"
server = ["10.0.0.11", "10.0.0.12:8080"]
`)
	want := []Service{{Name: "web", Virtual: []Virtual{{
		Service: control.Service{
			ServiceID: control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: addr("192.0.2.1"), Port: 80},
			Scheduler: "wlc", Netmask: control.FullMask,
		},
		Servers: []control.RealServer{
			{Address: addr("10.0.0.11"), Port: 80, Method: control.Masq, Weight: 1},
			{Address: addr("10.0.0.12"), Port: 8080, Method: control.Masq, Weight: 1},
		},
	}}}}
	if !reflect.DeepEqual(cfg.Services, want) {
		t.Errorf("services\n%+v, want\n%+v", cfg.Services, want)
	}
}

func TestInheritance(t *testing.T) {
	cfg := parse(t, `
[defaults]
scheduler = "mh"
scheduler_flags = ["mh-port"]
mh_table_size = 65521
method = "tunnel"
tunnel_type = "gue"
tunnel_port = 6080
weight = 5
persistent = "1h"
netmask = 24

[service.a]
listen = "192.0.2.1:80"
server = ["10.0.0.1", { address = "10.0.0.2", weight = 0 }, { address = "10.0.0.3", method = "direct" }]

[service.b]
listen = "192.0.2.2:80"
scheduler = "rr"
method = "masq"
persistent = false
weight = 7
server = ["10.0.0.1:81"]

[service.c]
listen = "192.0.2.3:80"
method = "tunnel"
tunnel_type = "gre"
server = ["10.0.0.1", { address = "10.0.0.2", method = "direct" }]
`)
	a, b := cfg.Services[0].Virtual[0], cfg.Services[1].Virtual[0]
	if a.Scheduler != "mh" || a.Flags != control.Flag2|control.Persistent || a.MHTableSize != 65521 || a.Timeout != 3600 || a.Netmask != 0xffffff00 {
		t.Errorf("a is %+v", a.Service)
	}
	wantServers := []control.RealServer{
		{Address: addr("10.0.0.1"), Port: 80, Method: control.Tunnel, Weight: 5, TunnelType: control.GUE, TunnelPort: 6080, TunnelChecksum: control.NoChecksum},
		{Address: addr("10.0.0.2"), Port: 80, Method: control.Tunnel, Weight: 0, TunnelType: control.GUE, TunnelPort: 6080, TunnelChecksum: control.NoChecksum},
		{Address: addr("10.0.0.3"), Port: 80, Method: control.Direct, Weight: 5},
	}
	if !slices.Equal(a.Servers, wantServers) {
		t.Errorf("a has\n%+v, want\n%+v", a.Servers, wantServers)
	}
	if b.Scheduler != "rr" || b.Flags != 0 || b.MHTableSize != 0 || b.Timeout != 0 || b.Netmask != control.FullMask {
		t.Errorf("b is %+v", b.Service)
	}
	if want := (control.RealServer{Address: addr("10.0.0.1"), Port: 81, Method: control.Masq, Weight: 7}); b.Servers[0] != want {
		t.Errorf("b has %+v, want %+v", b.Servers[0], want)
	}
	wantServers = []control.RealServer{
		{Address: addr("10.0.0.1"), Port: 80, Method: control.Tunnel, Weight: 5, TunnelType: control.GRE, TunnelChecksum: control.NoChecksum},
		{Address: addr("10.0.0.2"), Port: 80, Method: control.Direct, Weight: 5},
	}
	if c := cfg.Services[2].Virtual[0]; !slices.Equal(c.Servers, wantServers) {
		t.Errorf("c has\n%+v, want\n%+v", c.Servers, wantServers)
	}
}

func TestEverything(t *testing.T) {
	cfg := parse(t, `
[director]
nics = ["eth0", "eth1.5"]
guard = "nft"
max_conns = 2_000
threads = 3
queues = 2
spin = "0s"
merge = true
budget = "250us"
socket = "/tmp/s"
socket_group = "lvs"
drift = "undo"
[timeouts]
tcp = "1h30m"
udp = "2d"
[settings]
net.ipv4.vs.sloppy_tcp = true
drop_packet = 0x3
[[address]]
address = "2001:db8::1"
nic = "eth0"
announce = 0
[[mark]]
mark = 7
dst = "2001:db8::5/64"
ports = 53
protocol = "udp"
[[mark]]
mark = 0
ports = "1000-2000"
protocol = "sctp"
nic = "eth1"
[service.six]
mark = 7
one_packet = true
server = "fd00::1"
[service."b c"]
listen = ["[2001:db8::1]:53/udp", "2001:db8::2/tcp"]
persistent = true
netmask = 64
persistence_engine = "sip"
server = [{ address = "[fd00::1]:5353" }]
`)
	spin := time.Duration(0)
	if want := (Director{
		NICs: []string{"eth0", "eth1.5"}, Guard: "nft", MaxConns: 2000, Threads: 3, Queues: 2, Spin: &spin, Merge: true, Budget: 250 * time.Microsecond,
		Socket: "/tmp/s", SocketGroup: "lvs",
	}); !reflect.DeepEqual(cfg.Director, want) {
		t.Errorf("director %+v, want %+v", cfg.Director, want)
	}
	if cfg.Drift != UndoDrift {
		t.Errorf("drift %q", cfg.Drift)
	}
	if want := (control.Timeouts{TCP: 5400, UDP: 172800}); cfg.Timeouts != want {
		t.Errorf("timeouts %+v, want %+v", cfg.Timeouts, want)
	}
	if want := map[string]nat.Value{"sloppy_tcp": 1, "drop_packet": 3}; !reflect.DeepEqual(cfg.Settings, want) {
		t.Errorf("settings %v, want %v", cfg.Settings, want)
	}
	if want := []Address{{Prefix: netip.MustParsePrefix("2001:db8::1/128"), NIC: "eth0"}}; !slices.Equal(cfg.Addresses, want) {
		t.Errorf("addresses %v, want %v", cfg.Addresses, want)
	}
	if want := []control.MarkRule{
		{Mark: 7, Dst: netip.MustParsePrefix("2001:db8::/64"), FirstPort: 53, LastPort: 53, Protocol: control.UDP},
		{FirstPort: 1000, LastPort: 2000, Protocol: control.SCTP, NIC: "eth1"},
	}; !slices.Equal(cfg.Marks, want) {
		t.Errorf("marks %v, want %v", cfg.Marks, want)
	}
	if got, want := cfg.Services[0].Virtual[0].Service, (control.Service{
		ServiceID: control.ServiceID{Family: control.IPv6, FWMark: 7}, Scheduler: "wlc", Flags: control.OnePacket, Netmask: 128,
	}); got != want {
		t.Errorf("six is %+v, want %+v", got, want)
	}
	v := cfg.Services[1].Virtual
	if len(v) != 2 || v[0].Protocol != control.UDP || v[1].Port != 0 || v[0].Netmask != 64 || v[0].PE != "sip" || v[0].Timeout != 360 {
		t.Errorf("b c is %+v", v)
	}
	if len(cfg.Virtuals()) != 3 {
		t.Errorf("%d virtual services", len(cfg.Virtuals()))
	}
}

// Every key and every setting is in the reference file, and it has no other.
func TestReference(t *testing.T) {
	const name = "../../../../docs/vsnat.toml"
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	cfg, problems, err := Load(name)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", problems, err)
	}
	// With the keys that are commented out as well.
	if _, problems = Parse(File{name, []byte(strings.NewReplacer(
		"\n# spin", "\nspin", "\n# socket", "\nsocket", "\n# netmask", "\nnetmask", "\n# persistence_engine", "\npersistence_engine",
		"\npersistent = false", "\npersistent = true", "\n# tunnel_type = \"ipip\"", "\ntunnel_type = \"gue\"", "\n# tunnel", "\ntunnel",
		"\nmethod = \"masq\"", "\nmethod = \"tunnel\"", "\n# mh_table_size", "\nmh_table_size", "\nscheduler = \"wlc\"", "\nscheduler = \"mh\"",
	).Replace(string(text)))}); len(problems) > 0 {
		t.Errorf("with all keys: %v", problems)
	}
	if _, problems = Parse(File{name, []byte(strings.NewReplacer(
		"\n# lrt_half_life", "\nlrt_half_life", "\nscheduler = \"wlc\"", "\nscheduler = \"lrt\"",
	).Replace(string(text)))}); len(problems) > 0 {
		t.Errorf("with lrt: %v", problems)
	}
	if _, problems = Parse(File{name, []byte(strings.NewReplacer(
		"\n# pool", "\npool", "\nmethod = \"masq\"", "\nmethod = \"full\"",
	).Replace(string(text)))}); len(problems) > 0 {
		t.Errorf("with FullNAT: %v", problems)
	}
	settings := nat.DefaultSettings()
	for _, s := range nat.SettingList() {
		if got, ok := cfg.Settings[s.Name]; !ok || got != s.Get(&settings) {
			t.Errorf("setting %s is %v (there: %v), the default is %v", s.Name, got, ok, s.Get(&settings))
		}
	}
	for _, key := range knownKeys() {
		if !regexp.MustCompile(`(?m)^(|# |.*[{,] )` + key + " = ").Match(text) {
			t.Errorf("key %s is not in the reference", key)
		}
	}
	for i, line := range strings.Split(string(text), "\n") {
		if len(line) > 120 {
			t.Errorf("line %d is longer than 120", i+1)
		}
	}
}

// knownKeys returns all keys, as the errors about unknown ones list them.
func knownKeys() (keys []string) {
	_, problems := Parse(File{"", []byte(`
[director]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[timeouts]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[[address]]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[[mark]]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[helpers]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[[masquerade]]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[pool.a]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[service.a]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[[service.b.server]]
zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1
[defaults]
life = { drain = { zzzzzzzzzzzzzzzzzzzzzzzzzzzz = 1 } }
`)})
	for _, p := range problems {
		if _, list, ok := strings.Cut(p.Message, "; it has "); ok {
			keys = append(keys, strings.Split(list, ", ")...)
		}
	}
	return keys
}

// The defaults that the reference tells are those of a file that says nothing.
func TestReferenceTellsDefaults(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/vsnat.toml")
	if err != nil {
		t.Fatal(err)
	}
	_, defaults, _ := strings.Cut(string(text), "[defaults]")
	defaults, _, _ = strings.Cut(defaults, "[[address]]")
	const service = "\n[service.x]\nlisten = \"192.0.2.1:80\"\nserver = \"10.0.0.1\"\n"
	told, plain := parse(t, "[defaults]"+defaults+service), parse(t, service)
	if !reflect.DeepEqual(told.Services, plain.Services) {
		t.Errorf("told\n%+v, are\n%+v", told.Services, plain.Services)
	}
}

func TestDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("20-web.toml", "[service.web]\nlisten = \"192.0.2.1:80\"\nserver = \"10.0.0.1\"\n")
	write("10-base.toml", "[defaults]\nscheduler = \"rr\"\n")
	write("ignored.txt", "]")
	cfg, problems, err := Load(dir)
	if err != nil || len(problems) > 0 {
		t.Fatalf("%v, %v", problems, err)
	}
	if len(cfg.Services) != 1 || cfg.Services[0].Virtual[0].Scheduler != "rr" {
		t.Errorf("services %+v", cfg.Services)
	}
	write("30-more.toml", "[defaults]\nscheduler = \"wrr\"\n[service.web2]\nlisten = \"192.0.2.1:80\"\nserver = \"10.0.0.1\"\n")
	_, problems, err = Load(dir)
	if err == nil || len(problems) != 2 || !strings.HasSuffix(problems[0].File, "30-more.toml") || !strings.Contains(problems[1].Message, "20-web.toml:2") {
		t.Errorf("%v, %v", problems, err)
	}
	if _, _, err := Load(t.TempDir()); err == nil || !strings.Contains(err.Error(), "no files") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, _, err := Load(filepath.Join(dir, "none")); err == nil {
		t.Error("no error for what is not there")
	}
}

func TestFormatDuration(t *testing.T) {
	for _, s := range []string{"1s", "2m", "1h", "1h30m", "1h0m5s", "7d", "250ms", "100µs", "0s", "31d"} {
		d, err := parseDuration(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
		}
		if got := FormatDuration(d); got != s {
			t.Errorf("%s comes back as %s", s, got)
		}
	}
}

func TestLife(t *testing.T) {
	cfg := parse(t, `
[defaults]
life = "dns"
[service.a]
listen = "192.0.2.1:53/udp"
server = "10.0.0.1"
[service.b]
listen = "192.0.2.1:80"
server = "10.0.0.1"
[service.b.life]
preset = "stateful"
drain = { established = "keep, reset-client", deadline = "1h" }
[service.c]
listen = "192.0.2.1:81"
server = "10.0.0.1"
life = "kernel"
`)
	a, b, c := cfg.Services[0].Virtual[0].Life, cfg.Services[1].Virtual[0].Life, cfg.Services[2].Virtual[0].Life
	if a == nil || a.Preset != "dns" || a.Drain.Established != "keep,reset-both" {
		t.Errorf("a lives so: %+v", a)
	}
	if b == nil || b.Preset != "" || b.Drain.Established != "keep,reset-client" || *b.Drain.Deadline != 3600 || b.Down.Established != "keep,reset-both" {
		t.Errorf("b lives so: %+v", b)
	}
	if c != nil {
		t.Errorf("c lives so: %+v", c)
	}
}
