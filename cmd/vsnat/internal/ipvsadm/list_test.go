package ipvsadm

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/cmd/vsnat/internal/ipvsadm/record"

	"vsnat/cmd/vsnat/internal/control"
)

// tool runs ipvsadm over c with blanks between arguments.
func tool(c Client, line string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = Main("ipvsadm", strings.Fields(line), strings.NewReader(""), &out, &err, c, record.Names{})
	return code, out.String(), err.String()
}

func service(id string, sched string, servers ...control.ServerEntry) control.ServiceEntry {
	name, err := control.ParseServiceID(id)
	if err != nil {
		panic(err)
	}
	e := control.ServiceEntry{Service: control.Service{ServiceID: name, Scheduler: sched, Netmask: control.FullMask}, Servers: servers}
	if name.Family == control.IPv6 {
		e.Netmask = 128
	}
	return e
}

func server(ap string, m control.Method, weight int32) control.ServerEntry {
	a := netip.MustParseAddrPort(ap)
	return control.ServerEntry{RealServer: control.RealServer{Address: a.Addr(), Port: a.Port(), Method: m, Weight: weight}}
}

// procConnections reads /proc/net/ip_vs_conn.
func procConnections(t *testing.T, text string) (conns []control.Connection) {
	t.Helper()
	endpoint := func(addr, port string) netip.AddrPort {
		a, err := netip.ParseAddr(addr)
		if err != nil {
			n, err := strconv.ParseUint(addr, 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			a = netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
		}
		p, err := strconv.ParseUint(port, 16, 16)
		if err != nil {
			t.Fatal(err)
		}
		return netip.AddrPortFrom(a, uint16(p))
	}
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if f[0] == "Pro" {
			continue
		}
		expires, err := strconv.ParseUint(f[8], 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, control.Connection{
			Protocol: control.Protocol(strings.ToLower(f[0])),
			Client:   endpoint(f[1], f[2]), Virtual: endpoint(f[3], f[4]), Destination: endpoint(f[5], f[6]),
			State: f[7], Expires: uint32(expires),
		})
	}
	return conns
}

// TestLive compares listings of a table that carried connections.
func TestLive(t *testing.T) {
	record, err := os.ReadFile("testdata/live.txt")
	if err != nil {
		t.Fatal(err)
	}
	sections := strings.Split(string(record), "== ")[1:]
	_, proc, _ := strings.Cut(sections[0], "\n")

	// The table as it was set up, with the counters that the kernel had.
	with := func(e control.ServerEntry, active, inactive, persistent uint32, s control.Stats) control.ServerEntry {
		e.Active, e.Inactive, e.Persistent, e.Stats = active, inactive, persistent, s
		return e
	}
	stats := func(conns, bytes, bps uint64) control.Stats {
		return control.Stats{Conns: conns, InPkts: conns, InBytes: bytes, InBPS: bps}
	}
	web := service("tcp:10.1.0.1:80", "rr",
		with(server("10.2.0.2:8080", control.Masq, 2), 2, 0, 0, stats(2, 120, 10)),
		with(server("10.2.0.1:8080", control.Masq, 1), 1, 0, 0, stats(1, 60, 4)))
	web.Stats = stats(3, 180, 14)
	dns := service("udp:10.1.0.1:53", "rr", with(server("10.2.0.1:53", control.Masq, 1), 0, 1, 1, stats(1, 29, 3)))
	dns.Stats, dns.Flags, dns.Timeout = stats(1, 29, 3), control.Persistent, 300
	sip := service("udp:10.1.0.1:5060", "rr", server("10.2.0.4:5060", control.Masq, 1))
	sip.Flags, sip.Timeout, sip.PE = control.Persistent, 60, "sip"
	web6 := service("tcp:[fd00::250]:80", "rr",
		with(server("[fd00::2]:80", control.Masq, 1), 1, 0, 0, stats(1, 80, 7)),
		server("[fd00::1]:80", control.Masq, 1))
	web6.Stats = stats(1, 80, 7)
	mark := service("fwmark:300", "rr", with(server("10.2.0.3:0", control.Direct, 1), 1, 0, 1, stats(1, 60, 6)))
	mark.Stats, mark.Flags, mark.Timeout = stats(1, 60, 6), control.Persistent, 60

	k := newKernel()
	k.services = []control.ServiceEntry{mark, web6, sip, dns, web}
	k.conns = procConnections(t, proc)
	client := serve(t, k)
	for _, section := range sections[1:] {
		options, want, _ := strings.Cut(section, "\n")
		if code, got, stderr := tool(client, options); code != 0 || got != want || stderr != "" {
			t.Errorf("%s: code %d, %s\ngot:\n%s\nwant:\n%s", options, code, stderr, got, want)
		}
	}
}

// TestConnectionData checks the rows that have persistence engine data, whose
// columns are not the title's (spec 7.3).
func TestConnectionData(t *testing.T) {
	k := newKernel()
	ap := netip.MustParseAddrPort
	k.conns = []control.Connection{{
		Protocol: control.UDP, Client: ap("10.0.0.1:0"), Virtual: ap("10.1.0.1:5060"), Destination: ap("10.2.0.1:5060"),
		State: "NONE", Expires: 6001, PE: "sip", PEData: "abc@host",
	}}
	client := serve(t, k)
	for _, c := range []struct{ options, want string }{
		{"-Lnc --persistent-conn", "pro expire state       source             virtual            destination        pe name          pe_data\n" +
			"UDP 100:01 NONE        10.0.0.1:0         10.1.0.1:5060      10.2.0.1:5060    sip                abc@host\n"},
		{"-Lnc", "pro expire state       source             virtual            destination\n" +
			"UDP 100:01 NONE        10.0.0.1:0         10.1.0.1:5060      10.2.0.1:5060\n"},
	} {
		if _, got, _ := tool(client, c.options); got != "IPVS connection entries\n"+c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.options, got, c.want)
		}
	}
}

func TestLargeNumber(t *testing.T) {
	for _, c := range []struct {
		n           uint64
		short, full string
	}{
		{0, "        0", "        0"},
		{99999999, " 99999999", " 99999999"},
		{100000000, "  100000K", " 100000000"},
		{999999999, "  999999K", " 999999999"},
		{1000000000, "    1000M", " 1000000000"},
		{99999999999, "   99999M", " 99999999999"},
		{100000000000, "     100G", " 100000000000"},
		{99999999999999, "   99999G", " 99999999999999"},
		{100000000000000, "     100T", " 100000000000000"},
		{18446744073709551615, "18446744T", " 18446744073709551615"},
	} {
		if got := largeNumber(c.n, false); got != c.short {
			t.Errorf("largeNumber(%d) = %q, want %q", c.n, got, c.short)
		}
		if got := largeNumber(c.n, true); got != c.full {
			t.Errorf("exact largeNumber(%d) = %q, want %q", c.n, got, c.full)
		}
	}
}

// TestServer32Bits checks the numbers of servers that ipvsadm 1.31 cuts.
func TestServer32Bits(t *testing.T) {
	const big = 1<<32 + 7
	s := control.Stats{Conns: big, InPkts: big, OutPkts: big, InBytes: big, OutBytes: big, CPS: big, InPPS: big, OutPPS: big, InBPS: big, OutBPS: big}
	e := service("tcp:10.0.0.1:80", "rr", server("10.2.0.1:80", control.Masq, 1))
	e.Stats, e.Servers[0].Stats = s, s
	k := newKernel()
	k.services = []control.ServiceEntry{e}
	client := serve(t, k)
	for _, c := range []struct{ options, want string }{
		{"-Ln --stats -t 10.0.0.1:80", `Prot LocalAddress:Port               Conns   InPkts  OutPkts  InBytes OutBytes
  -> RemoteAddress:Port
TCP  10.0.0.1:80                     4294M    4294M    4294M    4294M    4294M
  -> 10.2.0.1:80                         7        7        7    4294M    4294M
`},
		{"-Ln --rate --exact -t 10.0.0.1:80", `Prot LocalAddress:Port                 CPS    InPPS   OutPPS    InBPS   OutBPS
  -> RemoteAddress:Port
TCP  10.0.0.1:80                  4294967303 4294967303 4294967303 4294967303 4294967303
  -> 10.2.0.1:80                         7        7        7        7        7
`},
	} {
		if _, got, _ := tool(client, c.options); got != c.want {
			t.Errorf("%s:\n%s\nwant:\n%s", c.options, got, c.want)
		}
	}
}

// TestSortQuirk checks that the order is that of a merge sort with
// comparisons that are not transitive.
func TestSortQuirk(t *testing.T) {
	e := service("tcp:10.0.0.1:80", "rr")
	for _, a := range []string{"172.16.1.1:1", "100.1.1.1:1", "10.2.0.1:1", "200.1.1.1:1", "10.2.0.1:0"} {
		e.Servers = append(e.Servers, server(a, control.Masq, 1))
	}
	mergeSort(e.Servers, compareServers)
	var got []string
	for _, s := range e.Servers {
		got = append(got, fmt.Sprintf("%s:%d", s.Address, s.Port))
	}
	want := []string{"100.1.1.1:1", "172.16.1.1:1", "200.1.1.1:1", "10.2.0.1:0", "10.2.0.1:1"}
	if !slices.Equal(got, want) {
		t.Errorf("sorted %v, want %v", got, want)
	}
}

// TestNotRunning checks what is said when there is no director.
func TestNotRunning(t *testing.T) {
	path := t.TempDir() + "/none"
	client := control.NewClient(path)
	for _, line := range []string{"", "-L -n", "-A -t x", "--nosuch"} {
		code, stdout, stderr := tool(client, line)
		want := "Can't initialize ipvs: Protocol not available\nvsnat is not running: nothing answers at " + path +
			". Start it with `vsnat run', or set VSNAT_SOCKET to the socket it has.\n"
		if code != 2 || stdout != "" || stderr != want {
			t.Errorf("ipvsadm %s: code %d, %q, %q", line, code, stdout, stderr)
		}
	}
	for _, line := range []string{"-h", "--help", "-v", "--version"} {
		if code, stdout, stderr := tool(client, line); code != 0 || !strings.HasPrefix(stdout, "ipvsadm v1.31 2019/12/24 (") || stderr != "" {
			t.Errorf("ipvsadm %s: code %d, %q, %q", line, code, stdout, stderr)
		}
	}
}

// TestHelp checks that the help names every option.
func TestHelp(t *testing.T) {
	_, help, _ := tool(control.NewClient("/nonexistent"), "-h")
	for _, o := range options {
		if !strings.Contains(help, "--"+o.long) {
			t.Errorf("help lacks --%s", o.long)
		}
		if o.short != 0 && !strings.Contains(help, "-"+string(o.short)) && !strings.Contains(help, "|"+string(o.short)) {
			t.Errorf("help lacks -%c", o.short)
		}
	}
}

// stubborn refuses every command with the same error.
type stubborn struct {
	*kernel
	err error
}

func (s stubborn) Apply([]control.Command, control.Mode) []control.Refusal {
	return []control.Refusal{{Err: s.err}}
}

// TestUnsupported checks that what the kernel would never refuse is refused
// with the director's reason.
func TestUnsupported(t *testing.T) {
	reason := fmt.Errorf("tunnels are for later: %w", syscall.EOPNOTSUPP)
	client := serve(t, stubborn{newKernel(), reason})
	code, stdout, stderr := tool(client, "-a -t 10.0.0.1:80 -r 10.2.0.1 -i")
	if want := "Operation not supported: tunnels are for later\n"; code != 255 || stdout != "" || stderr != want {
		t.Errorf("code %d, %q, %q, want 255 and %q", code, stdout, stderr, want)
	}
}

// TestMappedAddress checks the refusal of what vsnat cannot tell from IPv4.
func TestMappedAddress(t *testing.T) {
	client := serve(t, newKernel())
	code, _, stderr := tool(client, "-A -t [::ffff:10.0.0.1]:80")
	if want := "Invalid operation.  Possibly wrong module version, address not unicast, ...\n"; code != 255 || stderr != want {
		t.Errorf("code %d, %q, want 255 and %q", code, stderr, want)
	}
}

// TestSaveRestore checks that what is saved restores to the same.
func TestSaveRestore(t *testing.T) {
	k := newKernel()
	tunnel := func(ap string, typ control.TunnelType, port uint16, sum control.TunnelChecksum) control.ServerEntry {
		s := server(ap, control.Tunnel, 5)
		s.TunnelType, s.TunnelPort, s.TunnelChecksum = typ, port, sum
		return s
	}
	sh := service("tcp:172.16.0.1:81", "sh", server("10.2.0.9:81", control.Direct, 0))
	sh.Flags = control.Flag1 | control.Flag2
	ops := service("udp:172.16.0.1:53", "wrr", server("10.2.0.9:5353", control.Masq, 9))
	ops.Flags = control.OnePacket
	sticky := service("fwmark6:9", "lc", server("[fd00::9]:0", control.Masq, 1))
	sticky.Flags, sticky.Timeout, sticky.Netmask = control.Persistent, 77, 64
	k.services = []control.ServiceEntry{
		service("tcp:10.0.0.1:80", "rr",
			tunnel("10.2.0.4:80", control.GRE, 0, control.Checksum),
			tunnel("10.2.0.3:80", control.GUE, 6080, control.RemoteChecksum),
			tunnel("10.2.0.2:80", control.IPIP, 0, ""),
			server("10.2.0.1:8080", control.Masq, 3)),
		sh, ops, sticky,
	}
	before := serve(t, k)
	after := serve(t, newKernel())
	for _, numeric := range []string{"", " -n"} {
		_, saved, _ := tool(before, "-S"+numeric)
		if strings.Count(saved, "\n") != 11 {
			t.Fatalf("-S%s printed\n%s", numeric, saved)
		}
		var stdout, stderr bytes.Buffer
		if code := Main("/sbin/ipvsadm-restore", nil, strings.NewReader("# comment\n"+saved), &stdout, &stderr, after, record.Names{}); code != 0 || stderr.Len() > 0 {
			t.Fatalf("restore: code %d, %s", code, stderr.String())
		}
		if _, again, _ := tool(after, "-S"+numeric); again != saved {
			t.Errorf("saved\n%sand after restoring it\n%s", saved, again)
		}
	}
}

// restoreFrom runs -R, or what else argv says, over rules.
func restoreFrom(c Client, argv, rules string) (code int, stderr string) {
	var out, err bytes.Buffer
	args := strings.Fields(argv)
	code = Main(args[0], args[1:], strings.NewReader(rules), &out, &err, c, record.Names{})
	return code, err.String()
}

// What -R does with bad lines, as the real one and with --atomic.
func TestRestoreOfBadLines(t *testing.T) {
	const good, bad = "-A -t 10.0.0.1:80 -s rr\n", "-A -t 10.0.0.2:80 -s nosuch\n"
	const badText = "Scheduler or persistence engine not found\n"
	for _, c := range []struct {
		argv, rules string
		code        int
		stderr      string
		services    int
	}{
		{"ipvsadm -R", good + bad, 255, badText, 2},
		{"ipvsadm -R", bad + good, 0, badText, 2},
		{"ipvsadm -R", bad + bad + good, 0, badText + badText, 2},
		{"ipvsadm -R", good + "-A -t [::ffff:10.0.0.1]:80\n" + good, 255, "Invalid operation.  Possibly wrong module version, address not unicast, ...\nService already exists\n", 2},
		{"ipvsadm -R", good + "-A\n" + bad, 2, "You need to supply the 'service-address' option for the 'add-service' command\n", 2},
		{"ipvsadm -R", good + "--nosuch\n", 255, "Try `ipvsadm -h' or 'ipvsadm --help' for more information.\n", 2},
		{"ipvsadm -R", good + "-A --nosuch\n" + good, 255, "--nosuch: unknown option\nService already exists\n", 2},
		{"ipvsadm -R --atomic", good, 0, "", 2},
		{"ipvsadm -R --atomic", "", 0, "", 1},
		{"ipvsadm -R --atomic", good + "\n" + bad, 255, "line 3: " + badText, 1},
		{"ipvsadm -R --atomic", good + "-A --nosuch\n", 255, "line 2: --nosuch: unknown option\n", 1},
		{"ipvsadm -R --atomic", good + "-A\n", 2, "line 2: You need to supply the 'service-address' option for the 'add-service' command\n", 1},
		{"ipvsadm -R --atomic", good + "-L\n", 2, "line 2: only commands that change something go with --atomic\n", 1},
		{"ipvsadm -R --atomic", good + "-A -t [::ffff:10.0.0.1]:80\n", 255, "line 2: Invalid operation.  Possibly wrong module version, address not unicast, ...\n", 1},
		{"ipvsadm-restore", good + bad, 255, badText, 1},
		{"ipvsadm-restore --atomic", "# rules\n" + good, 0, "", 1},
		{"ipvsadm-restore --atomic", "# rules\n" + good + good + good + good, 255, "line 3: Service already exists\n", 1},
		{"ipvsadm -L --atomic", "", 2, "Illegal 'atomic' option with the 'list' command\n", 1},
	} {
		k := newKernel()
		k.services = []control.ServiceEntry{service("tcp:10.9.9.9:80", "rr")}
		code, stderr := restoreFrom(serve(t, k), c.argv, c.rules)
		if code != c.code || stderr != c.stderr || len(k.services) != c.services {
			t.Errorf("%s of %q: code %d, %d services, %q\nwant %d, %d, %q", c.argv, c.rules, code, len(k.services), stderr, c.code, c.services, c.stderr)
		}
	}
}

// A line that has come is carried out before the next one does.
func TestRestoreDoesNotWait(t *testing.T) {
	k := newKernel()
	client := serve(t, k)
	r, w := io.Pipe()
	done := make(chan int)
	go func() {
		var out, err bytes.Buffer
		done <- Main("ipvsadm", []string{"-R"}, r, &out, &err, client, record.Names{})
	}()
	for i := range 3 {
		fmt.Fprintf(w, "-A -t 10.0.0.%d:80\n", i)
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			all, err := client.Services(context.Background())
			if err == nil && len(all) == i+1 {
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%d services, %v", len(all), err)
			}
		}
	}
	w.Close()
	if code := <-done; code != 0 {
		t.Errorf("code %d", code)
	}
}
