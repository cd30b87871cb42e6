package importer

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
)

// fixed is a Resolver that knows little.
type fixed struct{}

func (fixed) Host(name string) (netip.Addr, bool) {
	a, ok := map[string]string{"www.example.net": "192.0.2.80", "app1": "10.0.0.51"}[name]
	if !ok {
		return netip.Addr{}, false
	}
	return netip.MustParseAddr(a), true
}

func (fixed) Port(name string, _ control.Protocol) (uint16, bool) {
	p, ok := map[string]uint16{"http": 80, "https": 443, "domain": 53, "smtp": 25}[name]
	return p, ok
}

// body returns the configuration file without its comments at the head.
func body(text string) string {
	_, after, _ := strings.Cut(text, "\n\n")
	return after
}

func lost(r *Result) (all []string) {
	for _, l := range r.Lost {
		all = append(all, l.String())
	}
	return all
}

func TestImport(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   string
		form Format
		want string // the file without its head
		lost []string
	}{
		{
			name: "rules",
			form: IPVSAdm,
			in: `-A -t 192.0.2.1:80 -s wlc
-a -t 192.0.2.1:80 -r 10.0.0.11:80 -m -w 1
-a -t 192.0.2.1:80 -r 10.0.0.12:8080 -m -w 5
/sbin/ipvsadm -A -u 192.0.2.1:53 -s sh -b sh-port,sh-fallback -o
-a -u 192.0.2.1:53 -r 10.0.0.11:53 -g -w 0
# a comment
-A -f 7 -s rr -p 300 -M 255.255.255.0
-a -f 7 -r 10.0.0.11:0 -m -w 1 -x 100 -y 50
-A -t [2001:db8::1]:443 -s mh -p 360 -M 64
-a -t [2001:db8::1]:443 -r [fd00::1]:443 -i -w 1 --tun-type gue --tun-port 6080 --tun-csum
-a -t [2001:db8::1]:443 -r 10.0.0.9:443 -i -w 2 --tun-type ipip
-A -t 192.0.2.3:0 -s rr -p 60
-a -t 192.0.2.3:0 -r 10.0.0.11:0 -g -w 1
--set 600 0 30
-E -t 192.0.2.1:80 -s lc
-A -t 192.0.2.1:80
-d -t 192.0.2.1:80 -r 10.0.0.99:80
-A -t 192.0.2.4:80 -s zz
--start-daemon master
-Z
-L -n
-A -t 192.0.2.5:80 -q
echo 1 > /proc/sys/net/ipv4/ip_forward
`,
			want: `[timeouts]
tcp = "10m"
udp = "30s"

[service.tcp-192-0-2-1-80]
listen = "192.0.2.1:80"
scheduler = "lc"
server = ["10.0.0.11", { address = "10.0.0.12:8080", weight = 5 }]

[service.udp-192-0-2-1-53]
listen = "192.0.2.1:53/udp"
scheduler = "sh"
scheduler_flags = ["sh-fallback", "sh-port"]
one_packet = true
method = "direct"
server = { address = "10.0.0.11", weight = 0 }

# What the host's packet filter gave the mark 7, vsnat must be told: complete this.
# [[mark]]
# mark = 7
# dst = "VIP"
# ports = "80-443"

[service.fwmark-7]
mark = 7
scheduler = "rr"
persistent = "5m"
netmask = 24
server = { address = "10.0.0.11", upper_threshold = 100, lower_threshold = 50 }

[service.tcp-2001-db8--1-443]
listen = "[2001:db8::1]:443"
scheduler = "mh"
persistent = "6m"
netmask = 64
server = [
  { address = "fd00::1", method = "tunnel", tunnel_type = "gue", tunnel_port = 6080, tunnel_checksum = "csum" },
  { address = "10.0.0.9", weight = 2, method = "tunnel" },
]

[service.tcp-192-0-2-3-0]
listen = "192.0.2.3"
scheduler = "rr"
persistent = "1m"
method = "direct"
server = "10.0.0.11"
`,
			lost: []string{
				`16: -A -t 192.0.2.1:80: there is this service already`,
				`17: -d -t 192.0.2.1:80 -r 10.0.0.99:80: the service has no such server`,
				`18: service tcp-192-0-2-4-80: unknown scheduler "zz"; choose one of dh, fo, lblc, lblcr, lc, lrt, mh, nq, ovf, rr, sed, sh, twos, wlc, wrr, none`,
				`19: --start-daemon master: connection synchronisation is not in the configuration file`,
				`20: -Z: counters are not in the configuration file`,
				`21: -L -n: it changes nothing`,
				`22: -A -t 192.0.2.5:80 -q: -q: unknown option`,
				`23: echo 1 > /proc/sys/net/ipv4/ip_forward: this is no command of ipvsadm`,
			},
		},
		{
			name: "rules that take back",
			form: IPVSAdm,
			in: `-A -t 192.0.2.1:80
-C
-A -t 192.0.2.2:80
-a -t 192.0.2.2:80 -r 10.0.0.1 -m
-a -t 192.0.2.2:80 -r 10.0.0.2 -m
-e -t 192.0.2.2:80 -r 10.0.0.2 -m -w 3
-d -t 192.0.2.2:80 -r 10.0.0.1
-A -t 192.0.2.3:80
-D -t 192.0.2.3:80
-a -t 192.0.2.3:80 -r 10.0.0.1 -m
`,
			want: `[service.tcp-192-0-2-2-80]
listen = "192.0.2.2:80"
server = { address = "10.0.0.2", weight = 3 }
`,
			lost: []string{`10: -a -t 192.0.2.3:80 -r 10.0.0.1 -m: there is no such service`},
		},
		{
			name: "keepalived, a shop",
			form: Keepalived,
			in: `! the shop
global_defs {
	router_id lb-a
	lvs_timeouts tcp 7200 udp 60
}
$BACK=10.20.0
vrrp_instance front {
	state MASTER
	authentication {
		auth_pass hunter2
	}
	virtual_ipaddress {
		203.0.113.10/24 dev eth0
	}
}
virtual_server 203.0.113.10 443 {
	delay_loop 10
	lvs_sched wrr
	lvs_method NAT
	persistence_timeout 600
	persistence_granularity 255.255.255.0
	protocol TCP
	sorry_server 10.20.0.200 443

	real_server $BACK.11 8443 {
		weight 3
		uthreshold 500
		lthreshold 400
		inhibit_on_failure
		SSL_GET {
			url {
				path /health
				status_code 200
			}
		}
	}
	real_server ${BACK}.12 8443
	{
		weight 1
		notify_down "/usr/local/bin/page me"
		TCP_CHECK { connect_timeout 3 }
	}
	real_server 10.20.0.11 8443 { weight 9 }
}
virtual_server 203.0.113.11 domain {
	protocol UDP
	ops
	lb_algo mh
	mh-port
	lb_kind DR
	real_server 10.20.0.31 53 { DNS_CHECK { name example.net } }
	real_server 10.20.0.32 5353 { }
	real_server elsewhere 53 {}
}
virtual_server fwmark 9 {
	lvs_method TUN type gue port 6080 csum
	persistence_timeout
	ip_family inet
	real_server 10.20.0.41 { }
	real_server fd00::41 { weight x }
	real_server 10.20.0.42 { weight 2 lvs_method DR }
	real_server 10.20.0.43 { weight 3 TCP_CHECK { connect_timeout 3 } }
}
@high virtual_server 203.0.113.12 80 { }
include more.conf
virtual_server group none { }
virtual_server 203.0.113.13 80 {
	lvs_sched lblcx
	quorum_up "/bin/true" # comment
	frobnicate 7
}
`,
			want: `[timeouts]
tcp = "2h"
udp = "1m"

[service.tcp-203-0-113-10-443]
listen = "203.0.113.10:443"
scheduler = "wrr"
persistent = "10m"
netmask = 24
server = [
  { address = "10.20.0.11:8443", weight = 3, upper_threshold = 500, lower_threshold = 400 },
  "10.20.0.12:8443",
]

[service.udp-203-0-113-11-53]
listen = "203.0.113.11:53/udp"
scheduler = "mh"
scheduler_flags = "mh-port"
one_packet = true
method = "direct"
server = ["10.20.0.31", "10.20.0.32"]

# What the host's packet filter gave the mark 9, vsnat must be told: complete this.
# [[mark]]
# mark = 9
# dst = "VIP"
# ports = "80-443"

[service.fwmark-9]
mark = 9
persistent = "6m"
server = [
  { address = "10.20.0.41", method = "tunnel", tunnel_type = "gue", tunnel_port = 6080, tunnel_checksum = "csum" },
  { address = "fd00::41", method = "tunnel", tunnel_type = "gue", tunnel_port = 6080, tunnel_checksum = "csum" },
  { address = "10.20.0.42", weight = 2, method = "tunnel", tunnel_type = "gue", tunnel_port = 6080, tunnel_checksum = "csum" },
  { address = "10.20.0.43", weight = 3, method = "tunnel", tunnel_type = "gue", tunnel_port = 6080, tunnel_checksum = "csum" },
]
`,
			lost: []string{
				`3: router_id lb-a: of global_defs only lvs_timeouts is carried over`,
				`7: vrrp_instance front { ... }: ` + whyVRRP,
				`17: delay_loop 10: ` + whyHealth,
				`23: sorry_server 10.20.0.200 443: ` + whySorry,
				`29: inhibit_on_failure: ` + whyHealth,
				`30: SSL_GET { ... }: ` + whyHealth,
				`40: notify_down /usr/local/bin/page me: ` + whyScript,
				`41: TCP_CHECK { ... }: ` + whyHealth,
				`43: server 10.20.0.11:8443: the service has this server already, from line 25`,
				`51: DNS_CHECK { ... }: ` + whyHealth,
				`52: port 5353 of server 10.20.0.32: only masquerading changes ports: the server gets that of the service`,
				`53: real_server elsewhere 53 { ... }: "elsewhere" is no IP address`,
				`60: weight x: ` + whyValue,
				`61: lvs_method DR: a statement begins on a line of its own`,
				`62: TCP_CHECK { ... }: a statement begins on a line of its own`,
				`64: @high virtual_server: whether this is meant depends on how keepalived is started`,
				`65: include more.conf: import that file by itself`,
				`66: virtual_server group none { ... }: there is no such group`,
				`67: service tcp-203-0-113-13-80: unknown scheduler "lblcx"; did you mean "lblc"?`,
				`69: quorum_up /bin/true: ` + whyScript,
				`70: frobnicate 7: ` + whyUnknown,
			},
		},
		{
			name: "keepalived, a group of both families",
			form: Keepalived,
			in: `virtual_server_group edge {
	192.0.2.10 80
	192.0.2.20-22 80
	192.0.2.254-192.0.3.1 80
	198.51.100.4/30 http
	2001:db8::1-3 80
	fwmark 3 inet6
	192.0.2.9-5 80
	10.0.0.0/8 80
}
virtual_server group edge {
	lvs_sched sh
	flag-1
	lvs_method TUN
	persistence_granularity 24
	real_server 10.1.0.1 80 {}
}
`,
			want: `# What the host's packet filter gave the mark 3, vsnat must be told: complete this.
# [[mark]]
# mark = 3
# dst = "VIP"
# ports = "80-443"

[service.fwmark6-3]
mark = 3
family = "ipv6"
scheduler = "sh"
scheduler_flags = "sh-fallback"
method = "tunnel"
server = "10.1.0.1:80"

[service.edge]
listen = [
  "192.0.2.10:80",
  "192.0.2.20:80",
  "192.0.2.21:80",
  "192.0.2.22:80",
  "192.0.2.254:80",
  "192.0.2.255:80",
  "192.0.3.0:80",
  "192.0.3.1:80",
  "198.51.100.4:80",
  "198.51.100.5:80",
  "198.51.100.6:80",
  "198.51.100.7:80",
]
scheduler = "sh"
scheduler_flags = "sh-fallback"
method = "tunnel"
server = "10.1.0.1"

[service.edge-2]
listen = ["[2001:db8::1]:80", "[2001:db8::2]:80", "[2001:db8::3]:80"]
scheduler = "sh"
scheduler_flags = "sh-fallback"
method = "tunnel"
server = "10.1.0.1"
`,
			lost: []string{
				`8: 192.0.2.9-5 80: "192.0.2.9-5" is neither an IP address nor a range`,
				`9: 10.0.0.0/8 80: more than 1024 addresses`,
				`11: persistence_granularity 24: there is no persistence_timeout`,
			},
		},
		{
			name: "keepalived that is broken",
			form: Keepalived,
			in:   "virtual_server 192.0.2.1 80 {\n  real_server 10.0.0.1 80 {\n  weight 2\n",
			want: `[service.tcp-192-0-2-1-80]
listen = "192.0.2.1:80"
server = { address = "10.0.0.1", weight = 2 }
`,
			lost: []string{`2: real_server 10.0.0.1 80 { ... }: this block does not end`},
		},
		{
			name: "ldirectord",
			form: Ldirectord,
			in: `# the site
checktimeout = 5
quiescent = no
fallback = 127.0.0.1:80

virtual = www.example.net:http
	servicename = Main site
	real = 10.0.0.11:8080 masq 3 "probe.html", "alive"
	real = app1:http masq
    # a comment
	real = 10.0.0.21->10.0.0.23:80 masq 2 l:10 u:20
	real = 10.0.0.31:80 gate # the port is that of the service
	real = 10.0.0.32:81 ipip 1
	real = nobody:80 masq
	real = 10.0.0.33:80 nat
	scheduler = wlc
	schedflags = flag-1
	persistent = 600
	netmask = 255.255.255.128
	protocol = tcp
	checktype = negotiate
	passwd = "secret"

virtual6=[2001:db8::5]:25
	real6=[fd00::5]:25 masq
	real=10.0.0.1:25 masq
	persistent=60
	netmask=64
virtual=192.0.2.53:53
	real=10.0.0.53:53 masq
	ops=yes
	scheduler=rr

virtual=4
	real=10.0.0.41 gate
	protocol=fwm

	real=10.0.0.42 gate
virtual=192.0.2.99
	real=10.0.0.42 gate
`,
			want: `[service."Main site"]
listen = "192.0.2.80:80"
scheduler_flags = "flag-1"
persistent = "10m"
netmask = 25
server = [
  { address = "10.0.0.11:8080", weight = 3 },
  "10.0.0.51",
  { address = "10.0.0.21", weight = 2, upper_threshold = 20, lower_threshold = 10 },
  { address = "10.0.0.22", weight = 2, upper_threshold = 20, lower_threshold = 10 },
  { address = "10.0.0.23", weight = 2, upper_threshold = 20, lower_threshold = 10 },
  { address = "10.0.0.31", method = "direct" },
  { address = "10.0.0.32", method = "tunnel" },
]

[service.tcp-2001-db8--5-25]
listen = "[2001:db8::5]:25"
scheduler = "wrr"
persistent = "1m"
netmask = 64
server = "fd00::5"

[service.udp-192-0-2-53-53]
listen = "192.0.2.53:53/udp"
scheduler = "rr"
one_packet = true
server = "10.0.0.53"

# What the host's packet filter gave the mark 4, vsnat must be told: complete this.
# [[mark]]
# mark = 4
# dst = "VIP"
# ports = "80-443"

[service.fwmark-4]
mark = 4
scheduler = "wrr"
method = "direct"
server = "10.0.0.41"
`,
			lost: []string{
				`2: checktimeout = 5: ` + whyHealth,
				`3: quiescent = no: ` + whyHealth,
				`4: fallback = 127.0.0.1:80: ` + whySorry,
				`8: "probe.html", "alive": ` + whyHealth,
				`14: real = nobody:80 masq: "nobody" is no address, nor the name of a host`,
				`15: real = 10.0.0.33:80 nat: this is no ADDRESS:PORT and gate, masq or ipip, with what may follow`,
				`21: checktype = negotiate: ` + whyHealth,
				`22: passwd = ...: ` + whyHealth,
				`26: real = 10.0.0.1:25 masq: 10.0.0.1 is of the other address family`,
				`38: real = 10.0.0.42 gate: it is indented and follows no virtual service`,
				`39: virtual = 192.0.2.99: a virtual service needs a port`,
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := Import("x", tt.in, "", fixed{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Format != tt.form {
				t.Errorf("taken for %s, is %s", r.Format, tt.form)
			}
			if got := body(r.Text); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
			got := lost(r)
			for i := range max(len(got), len(tt.lost)) {
				g, w := "nothing", "nothing"
				if i < len(got) {
					g = got[i]
				}
				if i < len(tt.lost) {
					w = tt.lost[i]
				}
				if g != w {
					t.Errorf("lost %s\nwant %s", g, w)
				}
			}
			checkResult(t, r)
		})
	}
}

// checkResult complains if the file has errors but that marks have no rules, or
// another number of services or servers than is told.
func checkResult(t *testing.T, r *Result) {
	t.Helper()
	cfg, problems := config.Parse(config.File{Name: "imported", Text: []byte(r.Text)})
	for _, p := range problems.Errors() {
		if !strings.HasPrefix(p.Message, "no rule gives packets the mark") {
			t.Errorf("%s\n%s", &p, r.Text)
		}
	}
	servers := 0
	for _, v := range cfg.Virtuals() {
		servers += len(v.Servers)
	}
	if len(cfg.Virtuals()) != r.Services || servers != r.Servers {
		t.Errorf("%d services and %d servers, told are %d and %d", len(cfg.Virtuals()), servers, r.Services, r.Servers)
	}
	if !slices.IsSortedFunc(r.Lost, func(a, b Lost) int { return a.Line - b.Line }) {
		t.Error("what was lost is not in order")
	}
}

// What rules say is what the file says, to the last field.
func TestRulesComeOverWhole(t *testing.T) {
	r, err := Import("x", `-A -t 192.0.2.1:80 -s sh -p 300 -M 255.0.255.0 -b sh-port
-a -t 192.0.2.1:80 -r 10.0.0.11:81 -m -w 7 -x 9 -y 8
`, "", fixed{})
	if err != nil || len(r.Lost) > 0 {
		t.Fatalf("%v, %v", r, err)
	}
	cfg, _ := config.Parse(config.File{Text: []byte(r.Text)})
	want := []config.Virtual{{
		Service: control.Service{
			ServiceID: control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: netip.MustParseAddr("192.0.2.1"), Port: 80},
			Scheduler: "sh", Flags: control.Persistent | control.Flag2, Timeout: 300, Netmask: 0xff00ff00,
		},
		Servers: []control.RealServer{{
			Address: netip.MustParseAddr("10.0.0.11"), Port: 81, Method: control.Masq, Weight: 7, UThreshold: 9, LThreshold: 8,
		}},
	}}
	if got := cfg.Virtuals(); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestUnknownFormat(t *testing.T) {
	if _, err := Import("hosts", "127.0.0.1 localhost\n", "", fixed{}); err == nil || !strings.Contains(err.Error(), "--format") {
		t.Errorf("%v", err)
	}
	if _, err := Import("hosts", "", "nginx", fixed{}); err == nil || !strings.Contains(err.Error(), "nginx") {
		t.Errorf("%v", err)
	}
}

func fuzz(f *testing.F, format Format, seeds ...string) {
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 1<<14 {
			return
		}
		r, err := Import("x", text, format, fixed{})
		if err != nil {
			t.Fatal(err)
		}
		checkResult(t, r)
	})
}

func FuzzRules(f *testing.F) {
	fuzz(f, IPVSAdm, "-A -t 192.0.2.1:80 -s sh -p 300 -M 255.0.255.0 -b sh-port\n-a -t 192.0.2.1:80 -r 10.0.0.11:81 -m -w 7 -x 9 -y 8\n",
		"-A -f 7 -6 -p\n-a -f 7 -r [fd00::1]:80 -i --tun-type gue --tun-port 1\n-E -f 7 -6 -s mh\n-D -f 7 -6\n--set 1 2 3\n-C")
}

func FuzzKeepalived(f *testing.F) {
	fuzz(f, Keepalived, "virtual_server 192.0.2.1 80 {\nlvs_sched sh\nsh-port\nlvs_method TUN type gre csum\nreal_server 10.0.0.1 80 {\nweight 2\nTCP_CHECK {}\n}\n}\n",
		"$A=1\nvirtual_server_group g {\n192.0.2.${A}-9 80\n2001:db8::/126 80\nfwmark 1 inet6\n}\nvirtual_server group g\n{\npersistence_timeout 5\nreal_server 10.0.0.$A { lvs_method DR } }")
}

func FuzzLdirectord(f *testing.F) {
	fuzz(f, Ldirectord, "virtual=192.0.2.1:80\n\treal=10.0.0.1->10.0.0.9:80 masq 3 \"a\", \"b\" l:1 u:2\n\tscheduler=mh\n\tschedflags=mh-port,flag-3\n\tservicename=a \"b\"\n",
		"virtual6=[2001:db8::1]:http\n    real6=[fd00::1]:80 gate\n    persistent=5\n    netmask=64\nvirtual=7\n    real=10.0.0.1 ipip")
}
