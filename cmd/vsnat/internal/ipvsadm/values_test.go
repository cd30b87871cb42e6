package ipvsadm

import (
	"math"
	"net/netip"
	"testing"

	"vsnat/cmd/vsnat/internal/control"
)

// TestInetAton compares with what glibc 2.36 makes of the same words.
func TestInetAton(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"10.0.0.1", "10.0.0.1"},
		{"10.1", "10.0.0.1"},
		{"10", "0.0.0.10"},
		{"0", "0.0.0.0"},
		{"10.0.256", "10.0.1.0"},
		{"10.256.1", ""},
		{"10.65536.1", ""},
		{"1.2.3.4.5", ""},
		{"1.2.3.256", ""},
		{"0x7f.1", "127.0.0.1"},
		{"0X7F.0.0.01", "127.0.0.1"},
		{"010.0.0.1", "8.0.0.1"},
		{"08.0.0.1", ""},
		{"4294967295", "255.255.255.255"},
		{"4294967296", ""},
		{"037777777777", "255.255.255.255"},
		{"0xffffffff", "255.255.255.255"},
		{"0xfffffffff", ""},
		{"1.2.3.4 x", "1.2.3.4"},
		{"1.2.3.4\tx", "1.2.3.4"},
		{"1.2.3.4x", ""},
		{"1..2", ""},
		{"1.", ""},
		{"", ""},
		{".1", ""},
		{"-1", ""},
		{"+1", ""},
		{" 1", ""},
		{"0x", ""},
		{"0x.1", ""},
		{"1.0x", ""},
		{"16777216.1", ""},
		{"1.16777215", "1.255.255.255"},
		{"1.16777216", ""},
	} {
		got := ""
		if a, ok := inetAton(c.in); ok {
			got = a.String()
		}
		if got != c.want {
			t.Errorf("inetAton(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

// TestAddressText compares with glibc's inet_ntop.
func TestAddressText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"::1.2.3.4", "::1.2.3.4"},
		{"::1.2.0.0", "::1.2.0.0"},
		{"::0.1.0.0", "::0.1.0.0"},
		{"::1", "::1"},
		{"::", "::"},
		{"::1:0:0", "::1:0:0"},
		{"fd00::1:0:0:1", "fd00::1:0:0:1"},
		{"1:0:0:2:0:0:0:3", "1:0:0:2::3"},
		{"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
		{"1::1.2.3.4", "1::102:304"},
		{"::ffff:0:0:1", "::ffff:0:0:1"},
		{"10.0.0.1", "10.0.0.1"},
	} {
		if got := addressText(netip.MustParseAddr(c.in)); got != c.want {
			t.Errorf("addressText(%s) = %s, want %s", c.in, got, c.want)
		}
	}
}

func TestNumber(t *testing.T) {
	for _, c := range []struct {
		in string
		n  int64
		ok bool
	}{
		{"0", 0, true},
		{"+7", 7, true},
		{" \t7", 7, true},
		{"007", 7, true},
		{"-7", -7, true},
		{"9223372036854775807", math.MaxInt64, true},
		{"9223372036854775808", 0, false},
		{"99999999999999999999", 0, false},
		{"", 0, false},
		{"-", 0, false},
		{"+ 7", 0, false},
		{"7 ", 0, false},
		{"0x7", 0, false},
	} {
		n, ok := number(c.in, math.MinInt64, math.MaxInt64)
		if ok != c.ok || ok && n != c.n {
			t.Errorf("number(%q) = %d, %v, want %d, %v", c.in, n, ok, c.n, c.ok)
		}
	}
}

func TestParseServices(t *testing.T) {
	s := parseServices("# comment\nweb 80/tcp www # more\nnew 80/tcp www2\nother 81/tcp www\nbad x/tcp\nbad 65536/tcp\nbad 7\nlone\n dns\t53/udp\n")
	for _, c := range []struct {
		name  string
		proto control.Protocol
		port  uint16
	}{
		{"web", control.TCP, 80},
		{"www", control.TCP, 80}, // the first line counts
		{"www2", control.TCP, 80},
		{"dns", control.UDP, 53},
		{"web", control.UDP, 0},
		{"bad", control.TCP, 0},
		{"80/tcp", control.TCP, 0},
	} {
		if got := s.ports[portKey{c.name, c.proto}]; got != c.port {
			t.Errorf("%s/%s is %d, want %d", c.name, c.proto, got, c.port)
		}
	}
	for key, want := range map[nameKey]string{{80, control.TCP}: "web", {81, control.TCP}: "other", {53, control.UDP}: "dns", {53, control.TCP}: ""} {
		if got := s.names[key]; got != want {
			t.Errorf("%v is %q, want %q", key, got, want)
		}
	}
}

// TestSystemNames checks the names that every system has.
func TestSystemNames(t *testing.T) {
	n := &SystemNames{}
	localhost := netip.MustParseAddr("127.0.0.1")
	if a, ok := n.Host("localhost"); !ok || a != localhost {
		t.Errorf("localhost is %v, %v", a, ok)
	}
	first, _ := n.HostName(localhost)
	if again, _ := n.HostName(localhost); again != first {
		t.Errorf("127.0.0.1 is %q and then %q", first, again)
	}
	port, ok := n.Port("http", control.TCP)
	if !ok {
		t.Skip("there is no http in /etc/services")
	}
	if name, _ := n.PortName(port, control.TCP); port != 80 || name != "http" {
		t.Errorf("http is port %d, whose name is %q", port, name)
	}
}
