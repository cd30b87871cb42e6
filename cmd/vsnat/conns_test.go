package main

import (
	"net/netip"
	"strings"
	"testing"

	"vsnat/cmd/vsnat/internal/control"
)

// What flags say is what the director is asked for.
func TestConnFilter(t *testing.T) {
	for _, args := range []string{
		"--client 192.0.2.7", "--client 192.0.2.7:40000", "--client 192.0.2.9/24", "--client 2001:db8::/32", "--vip 192.0.2.1:80 --server 10.0.0.0/8",
		"--state fin_wait,established --proto TCP --templates --why scheduled,moved",
	} {
		var f connFilter
		cmd := connsCommand()
		if err := cmd.ParseFlags(strings.Fields(args)); err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		set := func(e *endpointFilter, name string) {
			if v := cmd.Flag(name).Value.String(); v != "" {
				if err := e.Set(v); err != nil {
					t.Errorf("%s: what is printed is not read: %v", v, err)
				}
			}
		}
		set(&f.client, "client")
		set(&f.virtual, "vip")
		set(&f.server, "server")
		if err := f.complete(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
		if f.Client != f.client.EndpointSet || f.Virtual != f.virtual.EndpointSet || f.Server != f.server.EndpointSet {
			t.Errorf("%q: %+v", args, f)
		}
	}
	for _, bad := range []string{"", "web", "192.0.2.1:http", "192.0.2.0/33", "192.0.2.1:", ":80"} {
		if (&endpointFilter{}).Set(bad) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestConnFilterSlips(t *testing.T) {
	for _, c := range []struct {
		f    control.ConnectionFilter
		want string
	}{
		{control.ConnectionFilter{Protocol: "tpc"}, "invalid argument \"tpc\" for --proto: choose of tcp, udp, sctp, icmp, icmpv6, ip"},
		{control.ConnectionFilter{Why: []string{"moved", "move"}}, "invalid argument \"move\" for --why: choose of scheduled, template, helper, moved, bypass, synced"},
		{control.ConnectionFilter{States: []string{"ESTABLISH"}}, "invalid argument \"ESTABLISH\" for --state: choose of "},
	} {
		err := (&connFilter{ConnectionFilter: c.f}).complete()
		if err == nil || !strings.HasPrefix(err.Error(), c.want) || !isUsage(err, connsCommand()) {
			t.Errorf("%+v: %v, want %s", c.f, err, c.want)
		}
	}
}

func TestPrintConn(t *testing.T) {
	var out strings.Builder
	for _, seconds := range []uint32{0, 59, 60, 3599, 3600, 86399, 86400, 1 << 31} {
		c := control.Connection{
			Protocol: control.UDP, Client: netip.MustParseAddrPort("255.255.255.255:65535"), Virtual: netip.MustParseAddrPort("192.0.2.1:53"),
			Destination: netip.MustParseAddrPort("10.0.0.11:53"), State: "UDP", Age: seconds, Expires: 300, InBytes: 1 << 40, OutBytes: 99, Why: "scheduled",
		}
		if err := printConn(&out, connWide, &c); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range []string{"0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h", "24855d03h"} {
		line := strings.Split(out.String(), "\n")[i]
		if f := strings.Fields(line); f[2] != want || f[3] != "5m00s" || f[4] != "1.10T" || f[5] != "99" || f[6] != "scheduled" {
			t.Errorf("%q, want age %s", line, want)
		}
	}
}
