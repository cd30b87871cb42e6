package ftp

import (
	"net/netip"
	"testing"

	"vsnat/conntrack"
)

func TestAnnouncements(t *testing.T) {
	for _, tt := range []struct {
		f    *form
		v6   bool
		line string
		want result
		addr string // "" for none
		port uint16
		text string // the announcement
	}{
		{&portForm, false, "PORT 10,0,0,10,129,43\r\n", yes, "10.0.0.10", 33067, "10,0,0,10,129,43"},
		{&portForm, false, "port   10,0,0,10,0,21\r", yes, "10.0.0.10", 21, "10,0,0,10,0,21"},
		{&portForm, false, "PORT\t1,2,3,4,5,6 ", yes, "1.2.3.4", 0x506, "1,2,3,4,5,6"},
		{&portForm, false, "PORT1,2,3,4,5,6\n", yes, "1.2.3.4", 0x506, "1,2,3,4,5,6"},
		{&portForm, false, "PORT x1,2,3,4,5,6\r\n", no, "", 0, ""},
		{&portForm, false, "PORT 1,2,3,4,5,6", more, "", 0, ""},
		{&portForm, false, "PORT 1,2,3,4,5,\r\n", yes, "1.2.3.4", 0x500, "1,2,3,4,5,"},
		{&portForm, false, "PORT 1,2,,4,5,6\r\n", yes, "1.2.0.4", 0x506, "1,2,,4,5,6"},
		{&portForm, false, "PORT 1,2,3,4,5\r\n", no, "", 0, ""},
		{&portForm, false, "PORT 1,2,3,4,5,6,7\r\n", yes, "1.2.3.4", 0x506, "1,2,3,4,5,6"},
		{&portForm, false, "PORT 256,2,3,4,5,6\r\n", no, "", 0, ""},
		{&portForm, false, "PORT 1,2,3,4,5,256\r\n", no, "", 0, ""},
		{&portForm, false, "PORT 99999999999999999999,2,3,4,5,6\r\n", no, "", 0, ""},
		{&portForm, false, "PORT 0000001,2,3,4,5,6\r\n", yes, "1.2.3.4", 0x506, "0000001,2,3,4,5,6"},
		{&portForm, false, "PO", more, "", 0, ""},
		{&portForm, false, "PORT", more, "", 0, ""},
		{&portForm, false, "PORT \x00\x00", no, "", 0, ""},
		{&portForm, false, "", more, "", 0, ""},
		{&portForm, false, "PASV\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |1|10.0.0.10|6446|\r\n", yes, "10.0.0.10", 6446, "|1|10.0.0.10|6446|"},
		{&eprtForm, false, "eprt !1!10.0.0.10!6446!", yes, "10.0.0.10", 6446, "!1!10.0.0.10!6446!"},
		{&eprtForm, false, "EPRT |2|2001:db8::1|6446|\r\n", no, "", 0, ""},
		{&eprtForm, true, "EPRT |2|2001:db8::1|6446|\r\n", yes, "2001:db8::1", 6446, "|2|2001:db8::1|6446|"},
		{&eprtForm, true, "EPRT |1|10.0.0.10|6446|\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |||6446|\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |1|10.0.0.10|0|\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |1|10.0.0.10|65536|\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |1|10.0.0|1|\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |1|10.0.0.256|1|\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |1|10.0.0.1|1", more, "", 0, ""},
		{&eprtForm, false, "EPRT |1|10.0.0.1|1\r\n", no, "", 0, ""},
		{&eprtForm, false, "EPRT |1|1111111111111111111111111111111111111111111111111111", no, "", 0, ""},
		{&eprtForm, false, "EPRT \x01", no, "", 0, ""},
		{&pasvForm, false, "227 Entering Passive Mode (10,2,0,12,195,80).\r\n", yes, "10.2.0.12", 50000, "10,2,0,12,195,80"},
		{&pasvForm, false, "227 =10,2,0,12,195,80\r\n", yes, "10.2.0.12", 50000, "10,2,0,12,195,80"},
		{&pasvForm, false, "227 Mode 2 (10,2,0,12,195,80).\r\n", no, "", 0, ""},
		{&pasvForm, false, "227 (x", no, "", 0, ""},
		{&pasvForm, false, "227-Entering (10,2,0,12,195,80).\r\n", no, "", 0, ""},
		{&epsvForm, false, "229 Entering Extended Passive Mode (|||6446|)\r\n", yes, "", 6446, "|||6446|"},
		{&epsvForm, false, "229 ok (!!!6446!)\r\n", yes, "", 6446, "!!!6446!"},
		{&epsvForm, false, "229 ok (|1|10.2.0.12|6446|)\r\n", yes, "10.2.0.12", 6446, "|1|10.2.0.12|6446|"},
		{&epsvForm, false, "229 ok (||10.2.0.12|6446|)\r\n", no, "", 0, ""},
		{&epsvForm, true, "229 ok (|2|fd00::12|6446|)\r\n", yes, "fd00::12", 6446, "|2|fd00::12|6446|"},
		{&epsvForm, false, "229 6446\r\n", more, "", 0, ""},
		{&epsvForm, false, "229 ok ((|||1|)\r\n", yes, "", 1, "|||1|"},
	} {
		var a announcement
		got := tt.f.read([]byte(tt.line), tt.v6, &a)
		if got != tt.want {
			t.Errorf("%q: %d, want %d", tt.line, got, tt.want)
			continue
		}
		if got != yes {
			continue
		}
		var addr conntrack.Addr
		if tt.addr != "" {
			addr = netip.MustParseAddr(tt.addr).As16()
		}
		if a.addr != addr || a.hasAddr != (tt.addr != "") || a.port != tt.port || tt.line[a.start:a.end] != tt.text {
			t.Errorf("%q: %+v, %q", tt.line, a, tt.line[a.start:a.end])
		}
	}
}

// FuzzAddress holds the addresses that are read to those of net/netip.
func FuzzAddress(f *testing.F) {
	for _, s := range []string{
		"10.0.0.1", "::", "::1", "1::", "2001:db8::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7::", "::ffff:10.0.0.1",
		"1:2:3:4:5:6:7:8:9", "1::2::3", ":1", "1:", "12345::", "fe80::1%eth0", "1.2.3", "1.2.3.4.5", "::1.2.3", "1:2:3:4:5:6:7:1.2.3.4",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, err := netip.ParseAddr(s)
		if want.Zone() != "" {
			return
		}
		got, ok := parseAddress([]byte(s), true)
		if wantOK := err == nil && want.Is6(); ok != wantOK || ok && got != want.As16() {
			t.Fatalf("%q: %v %v, want %v %v", s, netip.AddrFrom16(got), ok, want, wantOK)
		}
		got, ok = parseAddress([]byte(s), false)
		if wantOK := err == nil && want.Is4(); ok != wantOK || ok && got != want.As16() {
			t.Fatalf("%q: %v %v, want %v %v", s, netip.AddrFrom16(got), ok, want, wantOK)
		}
	})
}
