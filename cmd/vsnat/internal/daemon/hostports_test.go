package daemon

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/nat"
)

// Sockets of this process, as the kernel tells of them.
func TestHostPorts(t *testing.T) {
	tcp, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp4", "0.0.0.0:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	tcpPort := tcp.Addr().(*net.TCPAddr).AddrPort().Port()
	udpPort := udp.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	proc := t.TempDir()
	for _, name := range []string{"tcp", "udp"} {
		b, err := os.ReadFile("/proc/net/" + name)
		if err != nil {
			t.Skip(err)
		}
		if err := os.MkdirAll(filepath.Join(proc, "net"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(proc, "net", name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(proc, "sys/net/ipv4"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(proc, "sys/net/ipv4/ip_local_port_range"), []byte("300\t400\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		addr        string
		first, last uint16
		want        string // "" is no clash
	}{
		{"127.0.0.1", tcpPort, tcpPort, "tcp 127.0.0.1:"},
		{"127.0.0.2", tcpPort, tcpPort, ""},
		{"127.0.0.2", udpPort, udpPort, "udp 0.0.0.0:"},
		{"127.0.0.1", 301, 301, "ip_local_port_range"},
		{"127.0.0.1", 1, 299, ""},
	} {
		got := hostPorts(proc, []nat.PortRange{{Addr: netip.MustParseAddr(c.addr).As16(), First: c.first, Last: c.last}})
		var mine []string
		for _, g := range got {
			if c.want == "" || strings.Contains(g, c.want) {
				mine = append(mine, g)
			}
		}
		if c.want == "" && len(got) != 0 || c.want != "" && len(mine) != 1 {
			t.Errorf("%s, %d to %d: %q, want %q", c.addr, c.first, c.last, got, c.want)
		}
	}
}

func TestForeignPorts(t *testing.T) {
	at := func(a string, first uint16) nat.PortRange {
		return nat.PortRange{Addr: netip.MustParseAddr(a).As16(), First: first, Last: first}
	}
	own := nat.PortRange{Addr: vip.Addr().As16(), First: 1, Last: 9}
	for _, c := range []struct {
		ports []nat.PortRange
		want  string // how it begins; "" is no error
	}{
		{nil, ""},
		{[]nat.PortRange{own}, ""},
		{[]nat.PortRange{own, at("198.51.100.77", 5)}, "198.51.100.77: "},
		{[]nat.PortRange{at("198.51.100.77", 5), at("198.51.100.77", 6), at("2001:db8::7", 5)}, "198.51.100.77, 2001:db8::7: "},
	} {
		err := foreignPorts(&fakeRoutes{}, c.ports)
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.ports, err, c.want)
		}
	}
}
