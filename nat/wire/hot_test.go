package wire

import (
	"os/exec"
	"regexp"
	"testing"
)

func TestNoAllocs(t *testing.T) {
	r := rng(t)
	tcp, udp, sctp := IPv4(packet4(t, r, ProtoTCP, make([]byte, 100))), IPv4(packet4(t, r, ProtoUDP, nil)), IPv4(packet4(t, r, ProtoSCTP, nil))
	tcp6 := IPv6(packet6(t, r, ProtoTCP, make([]byte, 1500)))
	tcp.SetSrc([4]byte{10, 0, 0, 1})
	tcp.SetDst([4]byte{10, 0, 0, 2})
	tcp.Payload()[tcpFlags] = SYN
	tcp6.SetSrc([16]byte{1})
	tcp6.SetDst([16]byte{2})
	tcp6.Payload()[tcpFlags] = SYN
	quote, quote6 := append(make(ICMPv4, ICMPLen), tcp...), append(make(ICMPv6, ICMPLen), tcp6...)
	eth, eth6, dst := frame(tcp, TypeIPv4), frame(tcp6, TypeIPv6), make([]byte, 1500)
	var p Packet
	for _, tt := range []struct {
		name string
		f    func() bool
	}{
		{"Parse IPv4", func() bool { return p.Parse(eth) == Parsed }},
		{"Parse IPv6", func() bool { return p.Parse(eth6) == Parsed }},
		{"ParseQuoted", func() bool { return p.ParseQuoted(quote, ICMPLen, false) == Parsed }},
		{"RewriteDst4 TCP", func() bool { return RewriteDst4(tcp, tcp.Payload(), false, [4]byte{10, 0, 0, 3}, 80) }},
		{"RewriteSrc4 UDP", func() bool { return RewriteSrc4(udp, udp.Payload(), false, [4]byte{10, 0, 0, 4}, 81) }},
		{"RewriteDst4 SCTP", func() bool { return RewriteDst4(sctp, sctp.Payload(), true, [4]byte{10, 0, 0, 3}, 80) }},
		{"RewriteDst6", func() bool { return RewriteDst6(tcp6, tcp6.Payload(), ProtoTCP, true, [16]byte{3}, 80) }},
		{"RewriteSrc6", func() bool { return RewriteSrc6(tcp6, tcp6.Payload(), ProtoTCP, false, [16]byte{4}, 81) }},
		{"RewriteQuotedDst4", func() bool { return RewriteQuotedDst4(quote, [4]byte{10, 0, 0, 5}, 80) }},
		{"RewriteQuotedSrc6", func() bool { return RewriteQuotedSrc6([16]byte{}, [16]byte{}, quote6, [16]byte{5}, 80) }},
		{"DecTTL", func() bool { tcp.DecTTL(); return true }},
		{"BuildICMPv4Error", func() bool { return BuildICMPv4Error(dst, [4]byte{10, 0, 0, 9}, 1, 3, 3, 0, tcp) > 0 }},
		{"BuildICMPv6Error", func() bool { return BuildICMPv6Error(dst, [16]byte{9}, 1, 4, 0, tcp6) > 0 }},
		{"BuildTCPReset4", func() bool { return BuildTCPReset4(dst, tcp) > 0 }},
		{"BuildTCPReset4Onward", func() bool { return BuildTCPReset4Onward(dst, tcp, [4]byte{10}, 1, [4]byte{11}, 2) > 0 }},
		{"BuildTCPReset6", func() bool { return BuildTCPReset6(dst, tcp6) > 0 }},
	} {
		ok := true
		if n := testing.AllocsPerRun(100, func() { ok = tt.f() && ok }); n != 0 {
			t.Errorf("%s allocates %v times", tt.name, n)
		}
		if !ok {
			t.Errorf("%s failed: nothing was measured", tt.name)
		}
	}
}

// mustInline are the functions that the hot path calls for single fields.
var mustInline = []string{
	"Ethernet.Type", "Ethernet.SetDst", "Ethernet.SetSrc", "Ethernet.Dst", "Ethernet.Src",
	"IPv4.IsHeader", "IPv4.HeaderLen", "IPv4.TotalLen", "IPv4.Protocol", "IPv4.TTL", "IPv4.TOS", "IPv4.Src", "IPv4.Dst",
	"IPv4.Checksum", "IPv4.SetChecksum", "IPv4.DontFragment", "IPv4.Fragment", "IPv4.FragmentOffset", "IPv4.Payload",
	"IPv6.IsValid", "IPv6.TotalLen", "IPv6.Src", "IPv6.Dst", "IPv6.HopLimit", "IPv6.DecHopLimit",
	"TCP.SrcPort", "TCP.DstPort", "TCP.Flags", "TCP.Seq", "TCP.Ack", "TCP.HeaderLen", "TCP.IsValid",
	"UDP.SrcPort", "UDP.DstPort", "UDP.Length", "SCTP.SrcPort", "SCTP.DstPort",
	"ICMPv4.Type", "ICMPv4.IsRelated", "ICMPv6.IsError",
	"Fold", "Update16", "Update32", "PseudoSum4",
}

func TestInlining(t *testing.T) {
	if testing.CoverMode() != "" {
		t.Skip("coverage counters keep functions from being inlined")
	}
	out, err := exec.Command("go", "build", "-gcflags=-m", ".").CombinedOutput()
	if err != nil {
		t.Skipf("needs the go command: %v: %s", err, out)
	}
	can := map[string]bool{}
	for _, m := range regexp.MustCompile(`can inline (\S+)`).FindAllSubmatch(out, -1) {
		can[string(m[1])] = true
	}
	for _, name := range mustInline {
		if !can[name] {
			t.Errorf("%s cannot be inlined", name)
		}
	}
}
