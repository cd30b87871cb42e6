package nat

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"vsnat/conntrack/state"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// The recordings' director: c0 towards a router and the client behind it, s0
// towards the real servers.
var goldenRoutes = &testRoutes{
	local: []netip.Addr{
		netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.100"), netip.MustParseAddr("10.2.0.1"),
		netip.MustParseAddr("fd00:1::1"), netip.MustParseAddr("fd00:1::100"), netip.MustParseAddr("fd00:2::1"),
	},
	routes: []testRoute{
		{netip.MustParsePrefix("10.2.0.11/32"), goldenHop(serverNIC, 0x04, 0x11, "10.2.0.1")},
		{netip.MustParsePrefix("10.2.0.12/32"), goldenHop(serverNIC, 0x04, 0x12, "10.2.0.1")},
		{netip.MustParsePrefix("0.0.0.0/0"), goldenHop(clientNIC, 0x03, 0x02, "10.1.0.1")},
		{netip.MustParsePrefix("fd00:2::11/128"), goldenHop(serverNIC, 0x04, 0x11, "fd00:2::1")},
		{netip.MustParsePrefix("fd00:2::12/128"), goldenHop(serverNIC, 0x04, 0x12, "fd00:2::1")},
		{netip.MustParsePrefix("::/0"), goldenHop(clientNIC, 0x03, 0x02, "fd00:1::1")},
	},
	router: true,
}

func goldenHop(index int, src, dst byte, host string) nic.Hop {
	return nic.Hop{
		State: nic.HopResolved, Index: index, MTU: 1500, Src: netip.MustParseAddr(host).As16(),
		SrcMAC: [6]byte{2, 5: src}, DstMAC: [6]byte{2, 5: dst},
	}
}

// TestGoldenPackets feeds the frames that arrived at a real kernel's director
// to the engine; the frames that left it must come out, to the byte. The folder
// is VSNAT_PACKETS. Of its own recordings those named after a forwarding method
// and the families of the packets inside and outside, as gre-csum-6-4, are from
// Linux 6.12.117, and of frames made by hand.
func TestGoldenPackets(t *testing.T) {
	dir := folder("VSNAT_PACKETS", "packets")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	for _, name := range wanted(t, names, leaveOut("VSNAT_PACKETS", "")) {
		t.Run(name, func(t *testing.T) { replayPackets(t, filepath.Join(dir, name)) })
	}
}

// recorded is a frame of a recording and whether it arrived or left.
type recorded struct {
	at      time.Time
	port    int
	arrived bool
	data    []byte
}

func readSide(t *testing.T, path string, port int, own [6]byte) []recorded {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := pcapgo.NewReader(bufio.NewReader(f))
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	for {
		data, ci, err := r.ReadPacketData()
		if err != nil {
			return all
		}
		all = append(all, recorded{ci.Timestamp, port, wire.Ethernet(data).Dst() == own, data})
	}
}

func replayPackets(t *testing.T, dir string) {
	setup, err := os.ReadFile(filepath.Join(dir, "setup.txt"))
	if err != nil {
		t.Fatal(err)
	}
	frames := append(
		readSide(t, filepath.Join(dir, "client-side.pcap"), clientNIC, [6]byte{2, 5: 3}),
		readSide(t, filepath.Join(dir, "server-side.pcap"), serverNIC, [6]byte{2, 5: 4})...)
	slices.SortStableFunc(frames, func(a, b recorded) int { return a.at.Compare(b.at) })

	first, later := scenario(string(setup))
	r := &packetReplay{t: t, e: newEngine(t, Options{}, routesOf(frames, string(setup))), ours: map[int][]departed{}, begin: frames[0].at}
	r.workers = map[int]*Worker{clientNIC: r.e.NewWorker(clientNIC), serverNIC: r.e.NewWorker(serverNIC)}
	r.run(first)
	pause := firstPause(frames)
	arrived := 0
	theirs := map[int][]recorded{}
	for i, f := range frames {
		if i == pause {
			r.run(later)
		}
		if f.arrived {
			arrived++
			r.arrive(f)
		} else if !r.answeredByHost(f) {
			theirs[f.port] = append(theirs[f.port], f)
		}
	}
	if arrived == 0 {
		t.Fatal("no frame arrives in this recording")
	}
	for _, port := range []int{clientNIC, serverNIC} {
		compareFrames(t, port, r.ours[port], theirs[port])
	}
	for _, w := range r.workers {
		if l := w.Ledger(); !l.Balanced() {
			t.Errorf("the ledger does not balance: %+v", l)
		}
	}
}

// scenario splits the commands into those before the first frame and those in
// the middle, which come last: what takes away again what was set up.
func scenario(setup string) (first, later []string) {
	for line := range strings.Lines(setup) {
		line = strings.TrimSpace(line)
		f := strings.Fields(line)
		if len(f) > 1 && (f[1] == "-d" || f[1] == "-D" || f[1] == "-e" || f[1] == "-E") {
			later = append(later, line)
		} else {
			first = append(first, line)
		}
	}
	return first, later
}

// firstPause returns the index of the frame before which nothing happened for a
// second, the first time: the recordings' commands in the middle fall there.
// Retransmissions make longer pauses later.
func firstPause(frames []recorded) int {
	for i := 1; i < len(frames); i++ {
		if frames[i].at.Sub(frames[i-1].at) >= time.Second {
			return i
		}
	}
	return 0
}

// routesOf returns the director's routes. Where its kernel told a client that a
// packet was too long for the servers' link, that link has the MTU it told. What
// it told of tunnels is not the link's.
func routesOf(frames []recorded, setup string) *testRoutes {
	routes := *goldenRoutes
	routes.routes = slices.Clone(goldenRoutes.routes)
	if strings.Contains(setup, " -i") {
		return &routes
	}
	for _, f := range frames {
		var p, q wire.Packet
		if f.arrived || f.port != clientNIC || p.Parse(f.data) != wire.Parsed || p.Proto != wire.ProtoICMP || p.ICMPType != 3 || p.ICMPCode != 4 {
			continue
		}
		if q.ParseQuoted(f.data, p.L4+wire.ICMPLen, false) == wire.Parsed && q.Dst == p.Src {
			for i := range routes.routes {
				if routes.routes[i].hop.Index == serverNIC {
					routes.routes[i].hop.MTU = wire.ICMPv4(f.data[p.L4:]).MTU()
				}
			}
		}
	}
	return &routes
}

// packetReplay is an engine that is fed a recording.
type packetReplay struct {
	t       *testing.T
	e       *Engine
	workers map[int]*Worker
	ours    map[int][]departed // by NIC
	passed  []recorded         // what the engine left to the host
	begin   time.Time
}

// departed is a frame that left the engine.
type departed struct {
	data []byte
	own  bool // the engine's own answer, not a packet that passed through
}

func (r *packetReplay) run(commands []string) {
	r.t.Helper()
	for _, c := range commands {
		f := strings.Fields(strings.TrimPrefix(c, "ipvsadm "))
		if f[0] == "--set" {
			var seconds [3]int64
			for i := range seconds {
				n, err := strconv.ParseInt(f[i+1], 10, 64)
				if err != nil {
					r.t.Fatal(err)
				}
				seconds[i] = n * 1e9
			}
			r.e.Update(func(tx *Tx) {
				tx.ChangeTimeouts(func(t *state.Timeouts) { t.Set(seconds[0], seconds[1], seconds[2]) })
			})
			continue
		}
		if err := command(r.e, c); err != nil {
			r.t.Fatalf("%s: %v", c, err)
		}
	}
}

func (r *packetReplay) arrive(f recorded) {
	now := f.at.Sub(r.begin).Nanoseconds() + 1
	for r.e.Expire(now, 1000) >= 1000 {
	}
	var b nic.Batch
	b.N = 1
	b.Frames[0] = nic.Frame{Buf: append(make([]byte, nic.VNetHdrLen), f.data...), WireLen: len(f.data)}
	w := r.workers[f.port]
	w.Process(&b, now)
	if w.Verdict(0).Kind == Pass {
		r.passed = append(r.passed, f)
	}
	for _, o := range w.Out() {
		r.ours[o.Port] = append(r.ours[o.Port], departed{bytes.Clone(o.Frame.Eth()), o.Kind == Reply})
	}
	w.Commit()
}

// answeredByHost reports whether a frame that left the kernel's director was its
// own stack's answer to one that the engine leaves to the host: an echo reply, a
// reset, port unreachable.
func (r *packetReplay) answeredByHost(f recorded) bool {
	var a wire.Packet
	if a.Parse(f.data) != wire.Parsed {
		return false
	}
	for i, q := range r.passed {
		var p wire.Packet
		if p.Parse(q.data) != wire.Parsed || p.Src != a.Dst || p.Dst != a.Src {
			continue
		}
		if a.Proto == wire.ProtoICMP && (a.ICMPType == 0 && p.ICMPType == 8 || a.ICMPType == 3 && a.ICMPCode == 3) ||
			a.Proto == ProtoTCP && a.TCPFlags&wire.RST != 0 && a.SrcPort == p.DstPort && a.DstPort == p.SrcPort {
			r.passed = slices.Delete(r.passed, i, i+1)
			return true
		}
	}
	return false
}

// compareFrames holds what left the engine by a NIC against what left the
// kernel, one by one and to the byte. What the kernel draws at random is left out:
// of packets that the director made itself the IP identification, of those in
// tunnels too if they may be fragmented, the flow label of its own, and the port
// that a tunnel's datagrams come from.
func compareFrames(t *testing.T, port int, ours []departed, theirs []recorded) {
	t.Helper()
	for i := range max(len(ours), len(theirs)) {
		var a, b []byte
		if i < len(ours) {
			a = ours[i].data
		}
		if i < len(theirs) {
			b = bytes.Clone(theirs[i].data)
		}
		if len(a) > wire.EthernetLen+wire.IPv4MinLen && len(b) > wire.EthernetLen+wire.IPv4MinLen && ours[i].own && wire.Ethernet(b).Type() == wire.TypeIPv4 {
			ip := wire.IPv4(b[wire.EthernetLen:])
			if !ip.ChecksumOK() {
				t.Fatalf("frame %d out of NIC %d: the recording has a wrong IP checksum", i+1, port)
			}
			copy(ip[4:6], a[wire.EthernetLen+4:])
			ip.SetChecksum(ip.CalculateChecksum())
		}
		if len(a) == len(b) && i < len(ours) && ours[i].own && wire.Ethernet(b).Type() == wire.TypeIPv6 {
			copy(b[wire.EthernetLen+1:], a[wire.EthernetLen+1:wire.EthernetLen+4]) // the flow label
		}
		if len(a) == len(b) && i < len(ours) && !ours[i].own {
			sameChance(t, a, b)
		}
		if !bytes.Equal(a, b) {
			t.Fatalf("frame %d out of NIC %d differs\nours:\n%s\nthe kernel's:\n%s", i+1, port, hex.Dump(a), hex.Dump(b))
		}
	}
}

// sameChance gives the kernel's packet b, if it is one in a tunnel, what was drawn
// for ours, a, in place of what it drew.
func sameChance(t *testing.T, a, b []byte) {
	t.Helper()
	var p wire.Packet
	switch p.Parse(b); {
	case p.Src != goldenRoutes.routes[0].hop.Src && p.Src != goldenRoutes.routes[3].hop.Src:
		return // no tunnel's
	case !p.V6 && !wire.IPv4(b[p.L3:]).DontFragment():
		ip := wire.IPv4(b[p.L3:])
		if ip.ID() == 0 || !ip.ChecksumOK() {
			t.Errorf("a tunnel's packet has no identification, or a wrong checksum: % x", ip[:20])
		}
		ip.SetLenID(ip.TotalLen(), wire.IPv4(a[p.L3:]).ID())
	}
	if p.Proto != ProtoUDP {
		return
	}
	l4, pseudo := b[p.L4:p.End], wire.IP(b[p.L3:]).PseudoSum(ProtoUDP, p.End-p.L4)
	u := wire.UDP(l4)
	if port := wire.UDP(a[p.L4:]).SrcPort(); port < 32768 || port > 60999 {
		t.Errorf("a tunnel's datagram comes from port %d", port)
	}
	has := u.Checksum() != 0
	if has && wire.Fold(wire.Sum(l4, pseudo)) != 0xffff {
		t.Error("the recording has a wrong UDP checksum")
	}
	copy(l4[:2], a[p.L4:])
	if has {
		u.SetChecksum(0)
		u.SetChecksum(wire.SumToChecksum(wire.Sum(l4, pseudo)))
	}
}
