package plan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

func state(t testing.TB, text string) *State {
	t.Helper()
	cfg, problems := config.Parse(config.File{Name: "vsnat.toml", Text: []byte(text)})
	if errs := problems.Errors(); len(errs) > 0 {
		t.Fatalf("%v\n%s", errs, text)
	}
	return Desired(cfg)
}

// director is a director as far as plans are concerned: it carries out commands
// and lists what there is.
type director struct {
	services []control.ServiceEntry // newest first
	settings map[string]nat.Value
	timeouts control.Timeouts
	marks    []control.MarkRule
	helpers  []control.Helper
}

func newDirector() *director {
	d := &director{settings: map[string]nat.Value{}, timeouts: defaultTimeouts, helpers: []control.Helper{{Name: "ftp", Ports: []uint16{21}}, {Name: "tftp", Ports: []uint16{69}}}}
	first := nat.DefaultSettings()
	for _, s := range nat.SettingList() {
		d.settings[s.Name] = s.Get(&first)
	}
	return d
}

func (d *director) service(id control.ServiceID) int {
	return slices.IndexFunc(d.services, func(e control.ServiceEntry) bool { return e.ServiceID == id })
}

func (d *director) apply(t testing.TB, cmds []control.Command) {
	t.Helper()
	for _, c := range cmds {
		at := -1
		if c.Service != nil {
			at = d.service(c.Service.ServiceID)
			if (at < 0) != (c.Op == control.AddService) {
				t.Fatalf("%s %s: there: %v", c.Op, c.Service.ServiceID, at >= 0)
			}
		}
		server := -1
		if c.Server != nil {
			server = slices.IndexFunc(d.services[at].Servers, func(e control.ServerEntry) bool {
				return e.Address == c.Server.Address && e.Port == c.Server.Port
			})
			if (server < 0) != (c.Op == control.AddServer) {
				t.Fatalf("%s %s %s: there: %v", c.Op, c.Service.ServiceID, c.Server.Address, server >= 0)
			}
		}
		switch c.Op {
		case control.AddService:
			d.services = slices.Insert(d.services, 0, control.ServiceEntry{Service: *c.Service})
		case control.EditService:
			life := d.services[at].Life
			d.services[at].Service = *c.Service
			if c.Service.ProxyProtocol == control.ProxyOff {
				d.services[at].ProxyProtocol = ""
			}
			if c.Service.Life == nil {
				d.services[at].Life = life
			} else if c.Service.Life.Preset == "" && c.Service.Life.Drain.Established == "" {
				d.services[at].Life = nil
			}
		case control.DeleteService:
			d.services = slices.Delete(d.services, at, at+1)
		case control.AddServer:
			d.services[at].Servers = slices.Insert(d.services[at].Servers, 0, control.ServerEntry{RealServer: *c.Server, Active: 3, Inactive: 4})
		case control.EditServer:
			d.services[at].Servers[server].RealServer = *c.Server
		case control.DeleteServer:
			d.services[at].Servers = slices.Delete(d.services[at].Servers, server, server+1)
		case control.Set:
			for k, v := range c.Settings {
				d.settings[k] = v
			}
		case control.SetTimeouts:
			for _, x := range []struct{ to, from *uint32 }{
				{&d.timeouts.TCP, &c.Timeouts.TCP}, {&d.timeouts.TCPFin, &c.Timeouts.TCPFin}, {&d.timeouts.UDP, &c.Timeouts.UDP},
			} {
				if *x.from != 0 {
					*x.to = *x.from
				}
			}
		case control.SetMarks:
			d.marks = c.Marks
		case control.SetHelpers:
			for _, h := range c.Helpers {
				d.helpers[slices.IndexFunc(d.helpers, func(o control.Helper) bool { return o.Name == h.Name })] = h
			}
		default:
			t.Fatalf("a plan has the command %s", c.Op)
		}
	}
}

func (d *director) actual() *State {
	var settings []control.Setting
	for k, v := range d.settings {
		settings = append(settings, control.Setting{Name: k, Value: v})
	}
	s := Actual(d.services, settings, d.timeouts, d.marks)
	s.Helpers = d.helpers
	return s
}

const before = `
[director]
guard = "nft"
max_conns = 1000
[settings]
sloppy_tcp = 1
[timeouts]
udp = "1m"
[[address]]
address = "192.0.2.1"
nic = "eth0"
[[mark]]
mark = 1
ports = 80
[service.web]
listen = ["192.0.2.1:80", "192.0.2.1:443"]
server = ["10.0.0.11", { address = "10.0.0.12", weight = 2 }, "10.0.0.13", "10.0.0.14"]
[service.old]
listen = "192.0.2.3:25"
server = ["10.0.0.31", "10.0.0.32"]
[service.same]
listen = "192.0.2.4:53/udp"
server = "10.0.0.41"
`

const after = `
[director]
guard = "nft"
spin = "1us"
[settings]
conn_reuse_mode = 0
[timeouts]
tcp = "1h"
[[address]]
address = "192.0.2.1"
nic = "eth1"
[[mark]]
mark = 1
ports = "80-81"
[service.web]
listen = ["192.0.2.1:80", "192.0.2.1:8443"]
scheduler = "sh"
scheduler_flags = ["sh-port"]
persistent = "10m"
life = "stateful"
server = [
  { address = "10.0.0.11", weight = 0 },
  { address = "10.0.0.12", weight = 3 },
  { address = "10.0.0.13", upper_threshold = 1000, lower_threshold = 900 },
  "10.0.0.15",
]
[service.same]
listen = "192.0.2.4:53/udp"
server = "10.0.0.41"
[service.mail]
listen = "192.0.2.5:25"
method = "tunnel"
tunnel_type = "gue"
tunnel_port = 6080
server = "10.0.0.51"
`

func TestPrint(t *testing.T) {
	d := newDirector()
	first := state(t, before)
	d.apply(t, Diff(&State{}, d.actual(), first, false).Commands())
	p := Diff(first, d.actual(), state(t, after), false)
	var out bytes.Buffer
	if err := p.Print(&out); err != nil {
		t.Fatal(err)
	}
	const want = `- tcp:192.0.2.1:443 (web) and its 4 servers (12 active, 16 inactive)
- tcp:192.0.2.3:25 (old) and its 2 servers (6 active, 8 inactive)
~ setting conn_reuse_mode: 1 -> 0
~ setting sloppy_tcp: 1 -> 0
~ timeout tcp: 15m -> 1h
~ timeout udp: 1m -> 5m
~ mark rules: 1 --dport 80 -> 1 --dport 80-81
- address 192.0.2.1/32 on eth0
+ address 192.0.2.1/32 on eth1
~ tcp:192.0.2.1:80 (web): scheduler wlc -> sh, flags none -> sh-port, persistent
    none -> 10m, life none -> stateful (12 active, 16 inactive)
  - 10.0.0.14:80 (3 active, 4 inactive)
  ! 10.0.0.11:80: weight 1 -> 0 (3 active, 4 inactive)
  ~ 10.0.0.12:80: weight 2 -> 3 (3 active, 4 inactive)
  ~ 10.0.0.13:80: upper none -> 1000, lower none -> 900 (3 active, 4 inactive)
  + 10.0.0.15:80: masq, weight 1
+ tcp:192.0.2.1:8443 (web): sh, flags sh-port, persistent 10m, life stateful
  + 10.0.0.11:8443: masq, weight 0
  + 10.0.0.12:8443: masq, weight 3
  + 10.0.0.13:8443: masq, weight 1, upper 1000, lower 900
  + 10.0.0.15:8443: masq, weight 1
+ tcp:192.0.2.5:25 (mail): wlc
  + 10.0.0.51:25: tunnel, tunnel gue port 6080, weight 1
* [director] max_conns: 1000 -> default, with the next start
* [director] spin: default -> 1µs, with the next start

9 to add, 7 to change, 1 to reweight, 1 to drain, 4 to remove; servers with 70
  live connections.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}
	for l := range strings.Lines(out.String()) {
		if len(l) > 81 {
			t.Errorf("%d columns: %s", len(l), l)
		}
	}
	for _, c := range p.Changes {
		for _, f := range c.Fields {
			if f.From == "" && f.To == "" {
				t.Errorf("%s %s %s%s: %s says nothing", c.Action, c.Kind, c.Service, c.Server, f.Name)
			}
		}
	}
	if b, err := json.Marshal(p); err != nil || !strings.Contains(string(b), `{"action":"drain","kind":"server","service":"tcp:192.0.2.1:80","name":"web","server":"10.0.0.11:80","fields":[{"name":"weight","from":"1","to":"0"}],"active":3,"inactive":4}`) {
		t.Errorf("%v\n%s", err, b)
	}
}

// What hands have done is drift: told, and left alone until the file changes in
// the same place or wants it undone.
func TestDrift(t *testing.T) {
	d := newDirector()
	file := state(t, before)
	d.apply(t, Diff(&State{}, d.actual(), file, false).Commands())
	id := func(s string) control.ServiceID {
		id, err := control.ParseServiceID(s)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	web := d.service(id("tcp:192.0.2.1:80"))
	d.services[web].Servers[0].Weight = 7 // 10.0.0.14
	d.services[web].Servers[3].Weight = 0 // 10.0.0.11
	d.services[web].Servers = slices.Delete(d.services[web].Servers, 1, 2)
	d.services[web].Scheduler = "rr"
	d.apply(t, []control.Command{
		{Op: control.DeleteService, Service: &control.Service{ServiceID: id("tcp:192.0.2.3:25")}},
		{Op: control.AddService, Service: &control.Service{ServiceID: id("tcp:192.0.2.9:80"), Scheduler: "rr", Netmask: control.FullMask}},
		{Op: control.Set, Settings: map[string]nat.Value{"sloppy_tcp": 0, "secure_tcp": 3}},
		{Op: control.SetTimeouts, Timeouts: &control.Timeouts{TCP: 10, UDP: 20}},
		{Op: control.SetMarks},
	})
	p := Diff(file, d.actual(), file, false)
	if len(p.Changes) != 0 {
		t.Errorf("the same file changes %+v", p.Changes)
	}
	var out bytes.Buffer
	_ = p.Print(&out)
	const want = `Changed by hand, and kept. To be as the file says, this would take:

- tcp:192.0.2.9:80
~ setting sloppy_tcp: 0 -> 1
~ timeout udp: 20s -> 1m
~ mark rules: none -> 1 --dport 80
~ tcp:192.0.2.1:80 (web): scheduler rr -> wlc (9 active, 12 inactive)
  ~ 10.0.0.11:80: weight 0 -> 1 (3 active, 4 inactive)
  + 10.0.0.13:80: masq, weight 1
  ~ 10.0.0.14:80: weight 7 -> 1 (3 active, 4 inactive)
+ tcp:192.0.2.3:25 (old): wlc

Nothing to change; 9 differences by hand.
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", &out, want)
	}

	// The file changes 10.0.0.11, which hands have drained, and says nothing new of
	// the others.
	changed := state(t, strings.Replace(before, `"10.0.0.11",`, `{ address = "10.0.0.11", weight = 5 },`, 1))
	d.apply(t, Diff(file, d.actual(), changed, false).Commands())
	if s := d.services[d.service(id("tcp:192.0.2.1:80"))].Servers; s[2].Weight != 5 || s[0].Weight != 7 || len(s) != 3 {
		t.Errorf("servers %+v", s)
	}
	d.apply(t, Diff(changed, d.actual(), changed, true).Commands())
	if p := Diff(changed, d.actual(), changed, false); len(p.Changes)+len(p.Drift) != 0 {
		t.Errorf("after it was undone: %+v, %+v", p.Changes, p.Drift)
	}
	if d.settings["secure_tcp"] != 3 || d.timeouts.TCP != 10 {
		t.Error("what the file does not name was undone")
	}
}

// A server that IPVS made local of whatever it was added as is no difference.
func TestLocalServer(t *testing.T) {
	d := newDirector()
	file := state(t, before)
	d.apply(t, Diff(&State{}, d.actual(), file, false).Commands())
	d.services[0].Servers[0].Method = control.Local
	if p := Diff(file, d.actual(), file, false); len(p.Changes)+len(p.Drift) != 0 {
		t.Errorf("%+v, %+v", p.Changes, p.Drift)
	}
}

// random returns a file of a few services and servers out of few.
func random(r *rand.Rand) string {
	var b strings.Builder
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	if r.IntN(2) == 0 {
		fmt.Fprintf(&b, "[settings]\n%s = %d\n", pick("sloppy_tcp", "run_estimation"), r.IntN(2))
	}
	if r.IntN(2) == 0 {
		fmt.Fprintf(&b, "[timeouts]\n%s = %q\n", pick("tcp", "tcp_fin", "udp"), pick("1m", "2m"))
	}
	if r.IntN(2) == 0 {
		fmt.Fprintf(&b, "[helpers]\n%s = %s\n", pick("ftp", "tftp"), pick("21", "[]", "[2121, 69]"))
	}
	fmt.Fprintf(&b, "[[mark]]\nmark = 1\nports = %d\n", 80+r.IntN(2))
	for i, listen := range []string{`listen = "192.0.2.1:80"`, `listen = ["192.0.2.2:80", "192.0.2.3:80/udp"]`, `mark = 1`, `listen = "[2001:db8::1]:80"`} {
		if r.IntN(3) == 0 {
			continue
		}
		fmt.Fprintf(&b, "[service.s%d]\n%s\n%s\n%s\n%s\n", i, listen,
			pick("", `scheduler = "rr"`, "scheduler = \"mh\"\nmh_table_size = 251"), pick("", `persistent = "5m"`), pick("", `life = "dns"`))
		for j := range 4 {
			if r.IntN(3) > 0 {
				address := fmt.Sprintf("10.0.0.%d", j+1)
				if i == 3 {
					address = fmt.Sprintf("fd00::%d", j+1)
				}
				fmt.Fprintf(&b, "[[service.s%d.server]]\naddress = %q\nweight = %d\n%s\n", i, address, r.IntN(3), pick("", "upper_threshold = 9"))
			}
		}
	}
	return b.String()
}

// Whatever two files say, the plan from one to the other can be carried out, and
// then there is nothing left to change: without drift whatever hands have done,
// and with it undone.
func TestRandomFiles(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		d := newDirector()
		base := &State{}
		for range 4 {
			if r.IntN(2) == 0 {
				// Hands make it as yet another file says.
				d.apply(t, Diff(base, d.actual(), state(t, random(r)), true).Commands())
			}
			desired := state(t, random(r))
			undo := r.IntN(2) == 0
			d.apply(t, Diff(base, d.actual(), desired, undo).Commands())
			p := Diff(desired, d.actual(), desired, undo)
			if len(p.Changes) > 0 || undo && len(p.Drift) > 0 {
				t.Fatalf("left to change: %+v, drift %+v", p.Changes, p.Drift)
			}
			base = desired
			// Every service's list is in the file's order, oldest first.
			if undo && len(base.Services) > 0 && len(d.services) != len(base.Services) {
				t.Fatalf("%d services, want %d", len(d.services), len(base.Services))
			}
		}
	}
}

func TestActualIsInTheOrderOfTheFile(t *testing.T) {
	d := newDirector()
	file := state(t, before)
	d.apply(t, Diff(&State{}, d.actual(), file, false).Commands())
	is := d.actual()
	for i := range file.Services {
		if is.Services[i].ServiceID != file.Services[i].ServiceID || !sameServers(&is.Services[i], &file.Services[i]) {
			t.Errorf("place %d: %+v, want %+v", i, is.Services[i], file.Services[i])
		}
	}
}

// A reload of 5,000 services of 10 servers of which one weight changed.
func BenchmarkDiff(b *testing.B) {
	var text strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&text, "[service.s%d]\nlisten = \"192.0.%d.%d:80\"\nserver = [", i, i/250, i%250+1)
		for j := range 10 {
			fmt.Fprintf(&text, "\"10.%d.%d.%d\", ", i/250, i%250, j+1)
		}
		text.WriteString("]\n")
	}
	d := newDirector()
	base := state(b, text.String())
	d.apply(b, Diff(&State{}, d.actual(), base, false).Commands())
	changed := strings.Replace(text.String(), `"10.0.0.1"`, `{ address = "10.0.0.1", weight = 2 }`, 1)
	for b.Loop() {
		if p := Diff(base, d.actual(), state(b, changed), false); len(p.Changes) != 1 {
			b.Fatalf("%d changes", len(p.Changes))
		}
	}
}
