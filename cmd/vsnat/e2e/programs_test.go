package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// TestIperf3 has iperf3 move data both ways over TCP, and datagrams.
func TestIperf3(t *testing.T) {
	need(t, "iperf3")
	s := newSite(t, lab.PaperOptions{})
	s.background("server1", server1+":5201", find("iperf3"), "-s")
	s.direct()
	// One server: iperf3 opens several connections that belong together.
	for _, proto := range []string{"-t ", "-u "} {
		s.ipvsadm("-A " + proto + vip + ":5201 -s rr")
		s.ipvsadm("-a " + proto + vip + ":5201 -r " + server1 + ":5201 -m")
	}
	for _, tt := range []struct {
		name string
		args []string
		// Bytes that must arrive, or datagrams. A sender ends when it has
		// handed its bytes to its socket, and iperf3 then reads no further.
		least float64
	}{
		{"to the server", []string{"-n", "100M"}, 20e6},
		{"to the client", []string{"-n", "100M", "-R"}, 20e6},
		{"four connections", []string{"-n", "100M", "-P", "4"}, 20e6},
		{"datagrams", []string{"-u", "-b", "20M", "-n", "2M"}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			argv := append([]string{find("iperf3"), "-c", vip, "-J", "--connect-timeout", "5000"}, tt.args...)
			r := s.run("client", argv...)
			var out struct {
				Error string
				End   struct {
					Received struct{ Bytes float64 } `json:"sum_received"`
					Sum      struct {
						Packets int
						Lost    int `json:"lost_packets"`
					}
				}
			}
			if err := json.Unmarshal([]byte(r.stdout), &out); err != nil {
				t.Fatalf("iperf3: exit code %d: %v\n%s%s", r.code, err, r.stdout, r.stderr)
			}
			if r.code != 0 || out.Error != "" {
				t.Fatalf("iperf3: exit code %d: %s", r.code, out.Error)
			}
			arrived := out.End.Received.Bytes
			if slices.Contains(tt.args, "-u") {
				arrived = float64(out.End.Sum.Packets - out.End.Sum.Lost)
			}
			if arrived < tt.least {
				t.Errorf("iperf3: %v arrived, want %v\n%s", arrived, tt.least, r.stdout)
			}
		})
	}
}

// TestDNS asks dnsmasq with dig over UDP and TCP.
func TestDNS(t *testing.T) {
	need(t, "dnsmasq-base", "dnsutils")
	s := newSite(t, lab.PaperOptions{})
	long := strings.Repeat("every server knows this text. ", 8)
	for _, ip := range serverIPs {
		s.background(serverName(ip), ip+":53", find("dnsmasq"),
			"--keep-in-foreground", "--log-facility=-", "--conf-file=/dev/null", "--pid-file=", "--user=root", "--group=",
			"--no-resolv", "--no-hosts", "--bind-interfaces", "--except-interface=lo", "--listen-address="+ip, "--edns-packet-max=1232",
			"--address=/who.vsnat.test/"+ip,
			"--txt-record=text.vsnat.test,"+long+","+long+","+long+","+long)
	}
	s.direct()
	for _, proto := range []string{"-t ", "-u "} {
		s.ipvsadm("-A " + proto + vip + ":53 -s rr")
		for _, ip := range serverIPs {
			s.ipvsadm("-a " + proto + vip + ":53 -r " + ip + ":53 -m")
		}
	}
	for _, tt := range []struct{ name, transport string }{
		{"udp", "+notcp"},
		{"tcp", "+tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dig := []string{find("dig"), "@" + vip, "+short", "+time=5", "+tries=1", "+bufsize=1232", tt.transport}
			want := []string{server4, server3, server2, server1, server4}
			var got []string
			for range want {
				got = append(got, strings.TrimSpace(s.must("client", append(dig, "who.vsnat.test", "A")...)))
			}
			if !slices.Equal(got, want) {
				t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
			}
			text := s.must("client", append(dig, "text.vsnat.test", "TXT")...)
			if strings.Count(text, long) != 4 {
				t.Errorf("the long answer is %q", text)
			}
		})
	}
}

// TestPing pings the VIP.
func TestPing(t *testing.T) {
	need(t, "iputils-ping")
	s := newSite(t, lab.PaperOptions{})
	s.direct()
	s.cluster("rr")
	out := s.must("client", find("ping"), "-n", "-c", "3", "-i", "0.2", "-W", "5", vip)
	if !strings.Contains(out, "3 received") {
		t.Errorf("ping:\n%s", out)
	}
}
