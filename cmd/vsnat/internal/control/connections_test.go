package control

import (
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

// The filter travels whole: what the server takes of its text is what the client
// meant, entry by entry.
func TestConnectionFilter(t *testing.T) {
	conn := Connection{
		Protocol: TCP, Client: netip.MustParseAddrPort("192.0.2.7:40000"), Virtual: netip.MustParseAddrPort("192.0.2.1:80"),
		Destination: netip.MustParseAddrPort("10.0.0.11:8080"), State: "ESTABLISHED", Why: "moved",
	}
	set := func(s string) EndpointSet {
		e, err := ParseEndpoints(s)
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for _, c := range []struct {
		f    ConnectionFilter
		want bool
	}{
		{ConnectionFilter{}, true},
		{ConnectionFilter{Client: set("192.0.2.7")}, true},
		{ConnectionFilter{Client: set("192.0.2.8")}, false},
		{ConnectionFilter{Client: set("192.0.2.7:40000")}, true},
		{ConnectionFilter{Client: set("192.0.2.7:40001")}, false},
		{ConnectionFilter{Client: set("192.0.2.9/24")}, true},
		{ConnectionFilter{Client: set("2001:db8::/32")}, false},
		{ConnectionFilter{Virtual: set("192.0.2.1:80"), Server: set("10.0.0.0/8")}, true},
		{ConnectionFilter{Virtual: set("192.0.2.1:80"), Server: set("10.0.0.12")}, false},
		{ConnectionFilter{Virtual: set("192.0.2.2")}, false},
		{ConnectionFilter{States: []string{"fin_wait", "established"}}, true},
		{ConnectionFilter{States: []string{"fin_wait"}}, false},
		{ConnectionFilter{Protocol: "TCP"}, true},
		{ConnectionFilter{Protocol: "udp"}, false},
		{ConnectionFilter{Templates: true}, false},
		{ConnectionFilter{Why: []string{"scheduled", "moved"}}, true},
		{ConnectionFilter{Why: []string{"template"}}, false},
	} {
		q := httptest.NewRequest("GET", "/?"+c.f.query(), nil).URL.Query()
		f, err := parseConnectionFilter(q)
		if err != nil {
			t.Errorf("%+v: %v", c.f, err)
		}
		if got := f.Takes(&conn); got != c.want {
			t.Errorf("%+v, as %v: %v", c.f, q, got)
		}
	}
	for _, s := range ConnectionStates() {
		if _, err := parseConnectionFilter(httptest.NewRequest("GET", "/?state="+s, nil).URL.Query()); err != nil {
			t.Error(err)
		}
	}
}

// Only what is wanted crosses the socket, from all of the table.
func TestFindConnections(t *testing.T) {
	client := NewClient(start(t, &recorder{conns: 2000}, defaultLimits))
	defer client.Close()
	wanted := ConnectionFilter{Client: EndpointSet{Network: netip.MustParsePrefix("10.0.7.128/25")}}
	n := 0
	for c, err := range client.FindConnections(t.Context(), wanted) {
		if err != nil {
			t.Fatal(err)
		}
		if !wanted.Takes(&c) {
			t.Fatalf("%v came", c.Client)
		}
		n++
	}
	if want := 2000 - 7*256 - 128; n != want {
		t.Errorf("%d connections, want %d", n, want)
	}
	_, answer := ask(&recorder{conns: 2000}, "GET", "/v1/connections?client=10.0.7.128/25", "")
	if lines := strings.Count(answer, "\n"); lines != n {
		t.Errorf("%d lines crossed for %d connections", lines, n)
	}
}

func TestConnectionFilterRefusals(t *testing.T) {
	s := NewServer(&recorder{}, nil)
	for query, want := range map[string]string{
		"client=web":             `client "web": want an address`,
		"virtual=192.0.2.1:http": `virtual "192.0.2.1:http": want an address`,
		"server=10.0.0.0/33":     `server "10.0.0.0/33": want an address`,
		"protocol=tpc":           `protocol "tpc" is none of tcp, udp, sctp, icmp, icmpv6, ip`,
		"state=established,shut": `state "shut" is none of `,
		"why=move":               `why "move" is none of scheduled`,
		"templates=perhaps":      `templates "perhaps" is neither true nor false`,
		"vip=192.0.2.1":          `takes no parameter "vip"`,
		"why=moved&why=synced":   `"why" is given twice`,
	} {
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequest("GET", "/v1/connections?"+query, nil))
		if w.Code != 400 || !strings.Contains(strings.ReplaceAll(w.Body.String(), `\"`, `"`), want) {
			t.Errorf("%s: %d %s", query, w.Code, w.Body)
		}
	}
}
