package config

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// Each row is a file and its problems, by line and column.
func TestProblems(t *testing.T) {
	const web = "[service.web]\nlisten = \"192.0.2.1:80\"\n"
	for _, tt := range []struct {
		name, text string
		want       []string
	}{
		{"unknown table", "[servcie.web]\n", []string{`1:2: unknown key "servcie" in the file; did you mean "service"?`}},
		{"dashes", web + "server = \"10.0.0.1\"\nupper-threshold = 1\n", []string{`4:1: unknown key "upper-threshold" in [service.web]; did you mean "upper_threshold"?`}},
		{"key of another table", web + "server = \"10.0.0.1\"\nmax_conns = 1\n", []string{`4:1: unknown key "max_conns" in [service.web]: it belongs in [director]`}},
		{"key of nothing", "[timeouts]\nqqqqqqq = 1\n", []string{`2:1: unknown key "qqqqqqq" in [timeouts]; it has tcp, tcp_fin, udp`}},
		{"scheduler", web + "scheduler = \"wlcc\"\nserver = \"10.0.0.1\"", []string{`3:13: unknown scheduler "wlcc"; did you mean "wlc"?`}},
		{"scheduler like nothing", web + "scheduler = \"round-robin\"\nserver = \"10.0.0.1\"", []string{`3:13: unknown scheduler "round-robin"; choose one of dh, fo, lblc, lblcr, lc, lrt, mh, nq, ovf, rr, sed, sh, twos, wlc, wrr, none`}},
		{"method", web + "method = \"Masq\"\nserver = \"10.0.0.1\"", []string{`3:10: unknown forwarding method "Masq"; did you mean "masq"?`}},
		{"flag", web + "scheduler = \"sh\"\nscheduler_flags = [\"sh-prot\"]\nserver = \"10.0.0.1\"", []string{`4:20: unknown scheduler flag "sh-prot"; did you mean "sh-port"?`}},
		{"flag of another", web + "scheduler_flags = [\"sh-port\", \"flag-1\"]\nserver = \"10.0.0.1\"", []string{`3:20: sh-port is for the scheduler sh, and this service has wlc`}},
		{"mh table", web + "scheduler = \"mh\"\nmh_table_size = 4096\nserver = \"10.0.0.1\"", []string{`4:17: mh table of 4096 slots; choose one of [251 509 1021 2039 4093 8191 16381 32749 65521 131071]`}},
		{"mh table of rr", web + "scheduler = \"rr\"\nmh_table_size = 4093\nserver = \"10.0.0.1\"", []string{`4:1: mh_table_size is for the scheduler mh, and this service has rr`}},
		{"half-life", web + "scheduler = \"lrt\"\nlrt_half_life = \"10us\"\nserver = \"10.0.0.1\"", []string{`4:17: 10us is out of range: from 1ms to 1d`}},
		{"weight", web + "server = { address = \"10.0.0.1\", weight = 2147483648 }", []string{`3:43: 2147483648 is out of range: write a number, 0 to 2147483647`}},
		{"number too large", web + "weight = 99999999999999999999\nserver = \"10.0.0.1\"", []string{`3:10: 99999999999999999999 is too large a number`}},
		{"weight quoted", web + "server = { address = \"10.0.0.1\", weight = \"2\" }", []string{`3:43: this is a string; write a number, 0 to 2147483647`}},
		{"fraction", web + "weight = 1.5\nserver = \"10.0.0.1\"", []string{`3:10: this is a date, a time or a number with a fraction; write a number, 0 to 2147483647`}},
		{"thresholds", web + "upper_threshold = 5\nserver = { address = \"10.0.0.1\", lower_threshold = 6 }", []string{`4:34: lower_threshold 6 is above upper_threshold 5`}},
		{"threshold alone", web + "lower_threshold = 6\nserver = [\"10.0.0.1\", \"10.0.0.2\"]", []string{`3:1: lower_threshold 6 is above upper_threshold 0`}},
		{"server twice", web + "server = [\"10.0.0.1\", \"10.0.0.1:80\"]", []string{`3:23: server 10.0.0.1:80 is there already, at vsnat.toml:3`}},
		{"service twice", web + "server = \"10.0.0.1\"\n[service.x]\nlisten = [\"192.0.2.1:80/udp\", \"192.0.2.1:80/TCP\"]\nserver = \"10.0.0.1\"", []string{`5:31: tcp:192.0.2.1:80 has a service already, at vsnat.toml:2`}},
		{"families", web + "server = [\"fd00::1\", { address = \"fd00::2\", method = \"tunnel\" }]", []string{`3:11: server fd00::1 is ipv6 and its service tcp:192.0.2.1:80 is ipv4; only tunnels cross`}},
		{"direct to another port", web + "method = \"direct\"\nserver = \"10.0.0.1:81\"", []string{`4:10: method direct cannot change the port from 80 to 81; leave the server's port out, or use "masq"`}},
		{"gue without port", web + "method = \"tunnel\"\ntunnel_type = \"gue\"\nserver = \"10.0.0.1\"", []string{`4:1: a GUE tunnel needs tunnel_port`}},
		{"ipip with port", web + "server = { address = \"10.0.0.1\", method = \"tunnel\", tunnel_port = 1 }", []string{`3:53: tunnel_port is for tunnel_type = "gue", and here it is "ipip"`}},
		{"gre with remcsum", web + "server = { address = \"10.0.0.1\", method = \"tunnel\", tunnel_type = \"gre\", tunnel_checksum = \"remcsum\" }", []string{`3:74: a tunnel of type gre cannot have the checksum remcsum`}},
		{"tunnel without tunnel", web + "server = { address = \"10.0.0.1\", tunnel_port = 1 }", []string{`3:34: tunnel_port is for method = "tunnel", and here it is "masq"`}},
		{"no port", "[service.a]\nlisten = \"192.0.2.1\"\nserver = \"10.0.0.1\"", []string{`2:10: without a port the service takes all, which needs persistence: add a port, or persistent = "6m"`}},
		{"no brackets", "[service.a]\nlisten = \"2001:db8::1:80\"\nserver = \"2001:db8::2\"", []string{`2:10: without a port the service takes all, which needs persistence: add a port as in [ADDRESS]:PORT, or persistent = "6m"`}},
		{"port 0", "[service.a]\nlisten = \"192.0.2.1:0\"\nserver = \"10.0.0.1\"", []string{`2:10: "0" is no port; write a number, 1 to 65535`}},
		{"named port", "[service.a]\nlisten = \"192.0.2.1:http\"\nserver = \"10.0.0.1\"", []string{`2:10: "http" is no port; write a number, 1 to 65535`}},
		{"host name", "[service.a]\nlisten = \"www.example.net:80\"\nserver = \"10.0.0.1\"", []string{`2:10: "www.example.net" is no IP address; names are not looked up`}},
		{"mapped", "[service.a]\nlisten = \"[::ffff:192.0.2.1]:80\"\nserver = \"10.0.0.1\"", []string{`2:10: ::ffff:192.0.2.1 is IPv4-mapped; write 192.0.2.1`}},
		{"zone", "[service.a]\nlisten = \"[fe80::1%eth0]:80\"\nserver = \"fd00::1\"", []string{`2:10: fe80::1%eth0 has a zone, which packets have not; leave it out`}},
		{"brackets", "[service.a]\nlisten = \"[192.0.2.1]:80\"\nserver = \"10.0.0.1\"", []string{`2:10: "[192.0.2.1]:80": brackets are for IPv6 addresses, as in "[2001:db8::1]:80"`}},
		{"protocol", "[service.a]\nlisten = \"192.0.2.1:80/icmp\"\nserver = \"10.0.0.1\"", []string{`2:10: unknown protocol "icmp"; choose tcp, udp or sctp`}},
		{"one_packet of TCP", web + "one_packet = true\nserver = \"10.0.0.1\"", []string{`2:10: one_packet is for UDP, and this is tcp: make it a service of its own`}},
		{"netmask without persistence", web + "netmask = 24\nserver = \"10.0.0.1\"", []string{`3:1: netmask is for persistent services; add persistent = "6m", or leave it out`}},
		{"netmask too long", web + "persistent = true\nnetmask = 33\nserver = \"10.0.0.1\"", []string{`4:11: 33 is too long for IPv4: the netmask is 0 to 32`}},
		{"dotted netmask for IPv6", "[service.a]\nlisten = \"[fd00::5]:80\"\npersistent = true\nnetmask = \"255.0.0.0\"\nserver = \"fd00::1\"", []string{`4:11: a dotted netmask is for IPv4; write the length of a prefix, 1 to 128`}},
		{"no netmask", web + "persistent = true\nnetmask = \"/24\"\nserver = \"10.0.0.1\"", []string{`4:11: "/24" is no netmask; write the length of a prefix, such as 24, or "255.255.255.0"`}},
		{"persistence too long", web + "persistent = \"32d\"\nserver = \"10.0.0.1\"", []string{`3:14: 32d is out of range: from 1s to 31d`}},
		{"persistence in fractions", web + "persistent = \"1500ms\"\nserver = \"10.0.0.1\"", []string{`3:14: 1500ms is no multiple of 1s`}},
		{"persistence a number", web + "persistent = 300\nserver = \"10.0.0.1\"", []string{`3:14: this is a number; write true, false, or how long a client stays with its server: "6m"`}},
		{"mark without rule", "[service.a]\nmark = 7\nserver = \"10.0.0.1\"", []string{`2:8: no rule gives packets the mark 7; add [[mark]] with mark = 7 and what its packets are`}},
		{"rule without mark", "[[mark]]\nports = 80\n", []string{`1:3: a rule needs mark = NUMBER; 0 leaves packets without a mark`}},
		{"rule for nobody", "[[mark]]\nmark = 7\n", []string{`1:3: warning: no service has the mark 7`}},
		{"rule of two families", "[[mark]]\nmark = 0\nsrc = \"10.0.0.0/8\"\ndst = \"fd00::/8\"\n", []string{`3:7: src and dst are of different address families: no packet has both`}},
		{"rule twice", "[[mark]]\nmark = 0\nsrc = \"10.0.0.0/8\"\n[[mark]]\nmark = 0\nsrc = \"10.0.0.1/8\"\n", []string{`4:3: this rule is there already, at vsnat.toml:1`}},
		{"ports", "[[mark]]\nmark = 0\nports = \"443-80\"\n", []string{`3:9: ports 443 to 80 are in the wrong order`}},
		{"one table for rules", "[mark]\nmark = 7\n", []string{`1:2: there may be several: write [[mark]]`}},
		{"several directors", "[[director]]\n", []string{`1:3: there is only one director: write [director]`}},
		{"service without name", "[[service]]\nlisten = \"192.0.2.1:80\"\n", []string{`1:3: a service has a name: write [service.NAME]`}},
		{"listen and mark", web + "mark = 7\nserver = \"10.0.0.1\"\n[[mark]]\nmark = 7", []string{`3:1: a service has listen or mark, not both: make it two services`}},
		{"neither", "[service.a]\nserver = \"10.0.0.1\"\n", []string{`1:2: service a says nowhere what it listens at; add listen = "ADDRESS:PORT", or mark = NUMBER`}},
		{"family with listen", web + "family = \"ipv4\"\nserver = \"10.0.0.1\"", []string{`3:1: family is for a service with a mark: an address tells its own`}},
		{
			"too many records", "[service.many]\nlatency = true\nserver = \"10.0.0.1\"\nlisten = [\n" + manyListens(65) + "]\n",
			[]string{`69:1: 65 services want latency = true, and the director keeps records of at most 64: leave it out where it is of less interest`},
		},
		{"as many records as there are", "[service.many]\nlatency = true\nserver = \"10.0.0.1\"\nlisten = [\n" + manyListens(64) + "]\n" +
			"[service.other]\nserver = \"10.0.0.1\"\nlisten = \"192.0.2.2:80\"\n", nil},
		{"no servers", web, []string{`1:2: warning: service web has no servers: its clients are refused`}},
		{"server without address", web + "[[service.web.server]]\nweight = 1\n", []string{`3:3: a server needs an address; add address = "ADDRESS" or "ADDRESS:PORT"`}},
		{"setting", "[settings]\nexpire_nodset_conn = 1", []string{`2:1: there is no setting expire_nodset_conn (is it expire_nodest_conn?)`}},
		{"setting of the kernel", "[settings]\nest_nice = 1", []string{`2:1: the kernel's setting est_nice does nothing in vsnat`}},
		{"setting too large", "[settings]\ndrop_packet = 4", []string{`2:15: 4 is out of range: write a number, 0 to 3`}},
		{"setting twice", "[settings]\nsloppy_tcp = 1\nnet.ipv4.vs.sloppy_tcp = 0", []string{`3:13: sloppy_tcp is there already, without net.ipv4.vs before it`}},
		{"helper", "[helpers]\nftp = [21, 21, 1]\nsip = 5060", []string{
			`2:12: port 21 is there already`, `2:16: 1 is out of range: write a number, 2 to 65535`, `3:1: unknown key "sip" in [helpers]; it has ftp, tftp`,
		}},
		{"helper of too many ports", "[helpers]\nftp = [2, 3, 4, 5, 6, 7, 8, 9, 10]", []string{`2:1: ftp: 9 ports: at most 8 are possible`}},
		{"timeout", "[timeouts]\ntcp = 900\nudp = \"0s\"", []string{`2:7: this is a number; write a time, such as "5s", "2m" or "1h30m"`, `3:7: 0s is out of range: from 1s to 31d`}},
		{"no time", "[timeouts]\ntcp = \"15 min\"", []string{`2:7: "15 min" is no time; write a number and its unit, such as "5s", "2m", "1h30m" or "250ms"`}},
		{"address twice", "[[address]]\naddress = \"192.0.2.1\"\nnic = \"eth0\"\n[[address]]\naddress = \"192.0.2.1/24\"\nnic = \"eth0\"", []string{`5:11: 192.0.2.1 is there already, at vsnat.toml:2`}},
		{"address of no NIC", "[[address]]\naddress = \"224.0.0.1\"\n", []string{`1:3: [[address]] needs nic`, `2:11: 224.0.0.1 is no address for a NIC`}},
		{"life preset", web + "life = \"statefull\"\nserver = \"10.0.0.1\"", []string{`3:8: unknown life preset "statefull"; did you mean "stateful"?`}},
		{"life action", web + "life = { drain = { established = \"kep\" }, dwon = {} }\nserver = \"10.0.0.1\"", []string{
			`3:34: unknown action "kep"; did you mean "keep"?`, `3:43: unknown key "dwon" in life; did you mean "down"?`,
		}},
		{"life that makes no sense", web + "server = \"10.0.0.1\"\n[service.web.life]\npreset = \"dns\"\ndown = { established = \"move\" }", []string{
			`6:1: life: down, established: move: no other server knows an established connection: reset it`,
		}},
		{"key twice", "[timeouts]\ntcp = \"1m\"\ntcp = \"2m\"", []string{`3:1: tcp is there already, at vsnat.toml:2`}},
		{"table twice", "[timeouts]\ntcp = \"1m\"\n[timeouts]\nudp = \"2m\"", []string{`3:2: [timeouts] is there already, at vsnat.toml:1`}},
		{"inline table is closed", "timeouts = { tcp = \"1m\" }\n[timeouts]\n[timeouts.x]", []string{`2:2: [timeouts] is there already, at vsnat.toml:1`, `3:2: timeouts is a table already, at vsnat.toml:1`}},
		{"list goes on as tables", web + "server = [\"10.0.0.1\"]\n[[service.web.server]]\naddress = \"10.0.0.2\"", []string{`4:3: server is a list already, at vsnat.toml:3: write all of it one way`}},
		{"no TOML, several times", "x = \n[timeouts]\ntcp = \"1m\ny = 1\n[director]\nguard = \"\n", []string{
			`1:5: unexpected end of the line at start of value`, `3:10: basic strings cannot have new lines`, `6:10: basic strings cannot have new lines`,
		}},
		{"characters, not bytes", "\"ä\" = 1 # ö\n[defaults]\nweight = \"ü\" # x\n\"öö\" = 1", []string{
			`1:1: unknown key "ä" in the file; it has address, defaults, director, helpers, mark, masquerade, pool, service, settings, timeouts`,
			`3:10: this is a string; write a number, 0 to 2147483647`,
			`4:1: unknown key "öö" in [defaults]; it has `,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, problems := Parse(File{"vsnat.toml", []byte(tt.text)})
			for i, p := range problems {
				if i >= len(tt.want) {
					t.Errorf("too much: %s", &p)
				} else if !strings.HasPrefix(p.String(), "vsnat.toml:"+tt.want[i]) || !strings.HasSuffix(tt.want[i], " ") && p.String() != "vsnat.toml:"+tt.want[i] {
					t.Errorf("got  %s\nwant vsnat.toml:%s", &p, tt.want[i])
				}
			}
			for _, w := range tt.want[min(len(problems), len(tt.want)):] {
				t.Errorf("missing: %s", w)
			}
		})
	}
}

func TestPrint(t *testing.T) {
	_, problems := Parse(File{"vsnat.toml", []byte("[director]\r\n\tgaurd = \"tcx\x1b[2J\"\r\n\tguard = \"tcx\" # ä\r\n\tspin = \"ä\"")})
	var out bytes.Buffer
	problems.Print(&out)
	const want = `vsnat.toml:2:14: basic strings cannot have control characters
    2 | 	gaurd = "tcx�[2J"
      | 	            ^
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
	_, problems = Parse(File{"vsnat.toml", []byte("[director]\n\tguard = \"nft\" # ä\n\tspin = \"ä\"\n[[mark]]\nmark=1")})
	out.Reset()
	problems.Print(&out)
	const more = `vsnat.toml:3:9: "ä" is no time; write a number and its unit, such as "5s", "2m", "1h30m" or "250ms"
    3 | 	spin = "ä"
      | 	       ^^^
vsnat.toml:4:3: warning: no service has the mark 1
    4 | [[mark]]
      |   ^^^^
`
	if out.String() != more {
		t.Errorf("got\n%swant\n%s", &out, more)
	}
	_, problems = Parse(File{"vsnat.toml", []byte("[director]\nnics = [" + strings.Repeat("\"eth0\", ", 40) + "]")})
	out.Reset()
	problems[20:21].Print(&out)
	const long = `vsnat.toml:2:177: NIC eth0 is there already
    2 | …", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "eth0", "et…
      |                                                             ^^^^^^
`
	if out.String() != long {
		t.Errorf("got\n%swant\n%s", &out, long)
	}
	_, problems = Parse(File{"vsnat.toml", []byte("spin = 1\n[[mark]]\nmark=1")})
	if n := len(problems.Errors()); n != 1 {
		t.Errorf("%d errors", n)
	}
}

// manyListens are the lines of so many addresses with a port.
func manyListens(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "\"192.0.2.1:%d\",\n", 1000+i)
	}
	return b.String()
}
