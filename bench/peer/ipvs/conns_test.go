package ipvs

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

const heading = "Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n"

func TestReadConns(t *testing.T) {
	ap := netip.MustParseAddrPort
	text := heading +
		"TCP 0A01020E DE87 0A090002 01BB 0A020006 1F90 ESTABLISHED     899\n" +
		"UDP 0A010501 0400 0A090001 0035 0A020003 0035 UDP              19\n" +
		"IP  0A010500 0000 00000007 0000 0A020003 0000 NONE            600\n" +
		"UDP 0A010501 0400 0A090001 13C4 0A020003 13C4 UDP             300 sip call@host\n" +
		"TCP fd00:0000:0000:0000:0000:0000:0a01:0001 0400 fd00:0000:0000:0000:0000:0000:0a09:0001 0050 fd00:0000:0000:0000:0000:0000:0a02:0001 0050 SYN_RECV         60\n"
	want := []Conn{
		{"TCP", ap("10.1.2.14:56967"), ap("10.9.0.2:443"), ap("10.2.0.6:8080"), "ESTABLISHED", 899},
		{"UDP", ap("10.1.5.1:1024"), ap("10.9.0.1:53"), ap("10.2.0.3:53"), "UDP", 19},
		{"IP", ap("10.1.5.0:0"), ap("0.0.0.7:0"), ap("10.2.0.3:0"), "NONE", 600},
		{"UDP", ap("10.1.5.1:1024"), ap("10.9.0.1:5060"), ap("10.2.0.3:5060"), "UDP", 300},
		{"TCP", ap("[fd00::a01:1]:1024"), ap("[fd00::a09:1]:80"), ap("[fd00::a02:1]:80"), "SYN_RECV", 60},
	}
	got, err := ReadConns(strings.NewReader(text))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	if got, err := ReadConns(strings.NewReader(heading)); err != nil || len(got) != 0 {
		t.Errorf("an empty table is read as %v, %v", got, err)
	}
	for name, line := range map[string]string{
		"few fields":  "TCP 0A01020E DE87",
		"no number":   "TCP 0A01020E DE87 0A090002 01BB 0A020006 1F90 ESTABLISHED soon",
		"no hex":      "TCP 0A01020G DE87 0A090002 01BB 0A020006 1F90 ESTABLISHED 1",
		"IPv6":        "TCP 20010DB8000000000000000000000001 DE87 0A090002 01BB 0A020006 1F90 ESTABLISHED 1",
		"a long port": "TCP 0A01020E DE8700 0A090002 01BB 0A020006 1F90 ESTABLISHED 1",
	} {
		if _, err := ReadConns(strings.NewReader(heading + line + "\n")); err == nil || !strings.Contains(err.Error(), "line 2") {
			t.Errorf("%s: error %v, want one that names line 2", name, err)
		}
	}
}

func FuzzReadConns(f *testing.F) {
	f.Add(heading + "TCP 0A01020E DE87 0A090002 01BB 0A020006 1F90 ESTABLISHED     899\n")
	f.Add(heading + "IP  0A010500 0000 00000007 0000 0A020003 0000 NONE 1 sip x\n")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := ReadConns(strings.NewReader(text))
		if err == nil && len(all) > strings.Count(text, "\n")+strings.Count(text, "\r") {
			t.Errorf("%d connections in %q", len(all), text)
		}
	})
}
