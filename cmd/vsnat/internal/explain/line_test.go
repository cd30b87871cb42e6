package explain

import (
	"net/netip"
	"strings"
	"testing"

	"vsnat/cmd/vsnat/internal/control"
)

func TestWriteLine(t *testing.T) {
	packet := control.Headers{
		IPProtocol: 6, Src: netip.MustParseAddr("192.0.2.7"), SrcPort: 40000, Dst: netip.MustParseAddr("192.0.2.1"), DstPort: 80, TCPFlags: []string{"syn"},
	}
	conn := func(state string) *control.DecidedConnection {
		return &control.DecidedConnection{Connection: control.Connection{State: state, Destination: netip.MustParseAddrPort("10.0.0.11:80")}}
	}
	unreachable := uint8(3)
	leaves := []control.Departure{{NIC: "eth1"}}
	const begin = "eth0 tcp 192.0.2.7:40000 to 192.0.2.1:80, SYN: "
	for want, d := range map[string]control.Decision{
		"new, by rr, to 10.0.0.11:80, SYN_RECV, leaves by eth1": {
			From: "client", Scheduling: &control.Scheduling{Scheduler: "rr"}, Connection: conn("SYN_RECV"), Verdict: "forward", Out: leaves,
		},
		"new, by template, to 10.0.0.11:80, SYN_RECV, waits for a neighbour, or its first fragment": {
			From: "client", Template: &control.DecidedTemplate{}, Connection: conn("SYN_RECV"), Verdict: "hold",
		},
		"known, to 10.0.0.11:80, SYN_RECV>ESTABLISHED, leaves by eth1": {
			From: "client", Found: conn("SYN_RECV"), Connection: conn("ESTABLISHED"), Verdict: "forward", Out: leaves,
		},
		"begins anew, begun-anew, to 10.0.0.11:80, SYN_RECV, leaves by eth1": {
			From: "client", Found: conn("TIME_WAIT"), GivenUp: "begun-anew", Scheduling: &control.Scheduling{}, Connection: conn("SYN_RECV"), Verdict: "forward", Out: leaves,
		},
		"answer, to 10.0.0.11:80, ESTABLISHED, drop client-is-local": {
			From: "server", Found: conn("ESTABLISHED"), Connection: conn("ESTABLISHED"), Verdict: "drop", Reason: "client-is-local",
		},
		"new, by wlc, answered with ICMP port unreachable": {
			From: "client", Scheduling: &control.Scheduling{Scheduler: "wlc"}, Cause: "no-server", Verdict: "reply",
			Out: []control.Departure{{Answer: true, Headers: control.Headers{IPProtocol: 1, ICMPType: &unreachable, ICMPCode: &unreachable}}},
		},
		"begins-nothing, answered with a reset": {
			From: "client", Cause: "begins-nothing", Verdict: "reply", Out: []control.Departure{{Answer: true, Headers: control.Headers{IPProtocol: 6}}},
		},
		"no-service, pass":     {From: "client", Cause: "no-service", Verdict: "pass"},
		"pass":                 {Verdict: "pass"},
		"drop bad-ip-checksum": {Verdict: "drop", Reason: "bad-ip-checksum"},
	} {
		d.NIC, d.Packet = "eth0", packet
		var out strings.Builder
		if err := WriteLine(&out, &control.Traced{Time: "2026-01-02T03:04:05.678901234Z", Decision: &d}); err != nil {
			t.Fatal(err)
		}
		when, rest, _ := strings.Cut(out.String(), " ")
		if rest != begin+want+"\n" || !strings.HasSuffix(when, ":04:05.678901") {
			t.Errorf("%q, want %q", out.String(), begin+want)
		}
	}
}
