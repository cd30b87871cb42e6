package nat

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"

	"vsnat/nat/wire"
	"vsnat/nic"
)

// The recordings' director: c0 towards a router and the client behind it, s0
// towards the real servers.
var goldenRoutes = &testRoutes{
	local: []netip.Addr{
		netip.MustParseAddr("10.1.0.1"), netip.MustParseAddr("10.1.0.100"), netip.MustParseAddr("10.2.0.1"),
	},
	routes: []testRoute{
		{netip.MustParsePrefix("10.2.0.11/32"), goldenHop(serverNIC, 0x04, 0x11, "10.2.0.1")},
		{netip.MustParsePrefix("10.2.0.12/32"), goldenHop(serverNIC, 0x04, 0x12, "10.2.0.1")},
		{netip.MustParsePrefix("0.0.0.0/0"), goldenHop(clientNIC, 0x03, 0x02, "10.1.0.1")},
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
// is VSNAT_PACKETS.
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
	e := newEngine(t, Options{}, goldenRoutes)
	for line := range strings.Lines(string(setup)) {
		if err := command(e, strings.TrimSpace(line)); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
	frames := append(
		readSide(t, filepath.Join(dir, "client-side.pcap"), clientNIC, [6]byte{2, 5: 3}),
		readSide(t, filepath.Join(dir, "server-side.pcap"), serverNIC, [6]byte{2, 5: 4})...)
	slices.SortStableFunc(frames, func(a, b recorded) int { return a.at.Compare(b.at) })

	workers := map[int]*Worker{clientNIC: e.NewWorker(clientNIC), serverNIC: e.NewWorker(serverNIC)}
	ours := map[int][][]byte{}
	theirs := map[int][][]byte{}
	arrived := 0
	for _, f := range frames {
		if !f.arrived {
			theirs[f.port] = append(theirs[f.port], f.data)
			continue
		}
		arrived++
		var b nic.Batch
		b.N = 1
		b.Frames[0] = nic.Frame{Buf: append(make([]byte, nic.VNetHdrLen), f.data...), WireLen: len(f.data)}
		w := workers[f.port]
		w.Process(&b, f.at.UnixNano())
		for _, o := range w.Out() {
			ours[o.Port] = append(ours[o.Port], bytes.Clone(o.Frame.Eth()))
		}
		w.Commit()
	}
	if arrived == 0 {
		t.Fatal("no frame arrives in this recording")
	}
	// The server that rr picks first depends on connections before the
	// recording begins only in that the pointer starts at the list head, which
	// it does here too: the frames must be equal one by one.
	for _, port := range []int{clientNIC, serverNIC} {
		for i := range max(len(ours[port]), len(theirs[port])) {
			var a, b []byte
			if i < len(ours[port]) {
				a = ours[port][i]
			}
			if i < len(theirs[port]) {
				b = theirs[port][i]
			}
			if !bytes.Equal(a, b) {
				t.Fatalf("frame %d out of NIC %d differs\nours:\n%s\nthe kernel's:\n%s", i+1, port, hex.Dump(a), hex.Dump(b))
			}
		}
	}
	for _, w := range workers {
		if l := w.Ledger(); !l.Balanced() {
			t.Errorf("the ledger does not balance: %+v", l)
		}
	}
}
