package nat

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/conntrack/state"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// event is one line of a recording of a kernel's choices.
type event struct {
	Type    string  `json:"type"`
	Proto   string  `json:"proto"`
	Ipvsadm string  `json:"ipvsadm"`
	ID      int     `json:"id"`
	IDs     []int   `json:"ids"`
	Src     string  `json:"src"`
	Dst     string  `json:"dst"`
	To      *string `json:"to"`
	Answer  []uint8 `json:"answer"`
	Dests   [][]any `json:"dests"`
	Mark    uint32  `json:"mark"`
}

// TestGoldenSchedulers replays recordings of real kernels, connection by
// connection, through the engine: every choice and every counter must be the
// kernel's. The folder is VSNAT_GOLDEN. A recording of what is not built yet
// fails unless VSNAT_LEAVE_OUT names it.
func TestGoldenSchedulers(t *testing.T) {
	dir := folder("VSNAT_GOLDEN", "schedulers")
	var names []string
	for _, pattern := range []string{"*.jsonl.gz", "*.jsonl"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			names = append(names, filepath.Base(f))
		}
	}
	for _, name := range wanted(t, names, leaveOut("VSNAT_GOLDEN", "")) {
		t.Run(strings.TrimSuffix(strings.TrimSuffix(name, ".gz"), ".jsonl"), func(t *testing.T) {
			replaySchedule(t, filepath.Join(dir, name))
		})
	}
}

func events(t *testing.T, path string) []event {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	var all []event
	for sc := bufio.NewScanner(r); sc.Scan(); {
		var e event
		if err := json.Unmarshal(sc.Bytes(), &e); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, e)
	}
	return all
}

// replayer plays clients and servers of a recording.
type replayer struct {
	t     *testing.T
	e     *Engine
	w     *Worker
	now   int64
	proto uint8
	conns map[int]*flow
}

type flow struct{ src, dst, server netip.AddrPort }

const (
	clientNIC = 2
	serverNIC = 3
)

var anywhere = &testRoutes{routes: []testRoute{
	{netip.MustParsePrefix("10.200.0.0/16"), nic.Hop{State: nic.HopResolved, Index: serverNIC, MTU: 1500}},
	{netip.MustParsePrefix("0.0.0.0/0"), nic.Hop{State: nic.HopResolved, Index: clientNIC, MTU: 1500}},
}}

func replaySchedule(t *testing.T, path string) {
	r := &replayer{t: t, conns: map[int]*flow{}, now: 1e9, proto: ProtoTCP}
	r.e = newEngine(t, Options{}, anywhere)
	r.w = r.e.NewWorker(clientNIC)
	for i, ev := range events(t, path) {
		where := fmt.Sprintf("line %d", i+1)
		switch ev.Type {
		case "meta":
			if ev.Proto == "udp" {
				r.proto = ProtoUDP
			}
			// Recordings keep established connections for their whole length.
			r.e.Update(func(tx *Tx) {
				tx.ChangeTimeouts(func(t *state.Timeouts) { t.Set(7200e9, 7200e9, 7200e9) })
			})
		case "cmd":
			if err := command(r.e, ev.Ipvsadm); err != nil {
				t.Fatalf("%s: %s: %v", where, ev.Ipvsadm, err)
			}
		case "mark":
			r.e.Update(func(tx *Tx) {
				rule := MarkRule{Selector: Selector{Dst: netip.MustParsePrefix(ev.Dst)}, Mark: ev.Mark}
				if err := tx.SetMarkRules(append(tx.MarkRules(), rule)); err != nil {
					t.Fatalf("%s: %v", where, err)
				}
			})
		case "connect":
			r.connect(where, &ev)
		case "close":
			r.close(where, ev.ID)
		case "expire":
			r.expire(where, ev.IDs)
		case "state":
			r.compare(where, ev.Dests)
		case "end":
		default:
			t.Fatalf("%s: %q is not built yet", where, ev.Type)
		}
		if t.Failed() {
			return
		}
	}
	if l := r.w.Ledger(); !l.Balanced() {
		t.Errorf("the ledger does not balance: %+v", l)
	}
}

// deliver has the engine judge one packet and returns the packet that leaves,
// if one does.
func (r *replayer) deliver(src, dst netip.AddrPort, flags uint8) (wire.Packet, Verdict) {
	r.now += 1e6
	var b nic.Batch
	b.N = 1
	b.Frames[0] = packet(r.proto, src, dst, flags, nil)
	r.w.Process(&b, r.now)
	v := r.w.Verdict(0)
	var p wire.Packet
	if out := r.w.Out(); len(out) > 0 {
		p.Parse(out[0].Frame.Eth())
	}
	r.w.Commit()
	return p, v
}

func (r *replayer) connect(where string, ev *event) {
	r.t.Helper()
	src, dst := netip.MustParseAddrPort(ev.Src), netip.MustParseAddrPort(ev.Dst)
	p, v := r.deliver(src, dst, wire.SYN)
	if ev.To == nil {
		if v.Kind != Reply {
			r.t.Fatalf("%s: verdict %v, the kernel refused the connection", where, v)
		}
		if len(ev.Answer) == 2 && (p.ICMPType != ev.Answer[0] || p.ICMPCode != ev.Answer[1]) {
			r.t.Fatalf("%s: answer %d/%d, want %d/%d", where, p.ICMPType, p.ICMPCode, ev.Answer[0], ev.Answer[1])
		}
		return
	}
	server := netip.MustParseAddrPort(*ev.To)
	if got := AddrPort(p.Dst, p.DstPort); v.Kind != Forward || got != server {
		r.t.Fatalf("%s: connection %d went to %v (%v), in the kernel to %v", where, ev.ID, got, v, server)
	}
	r.conns[ev.ID] = &flow{src, dst, server}
	if r.proto == ProtoTCP {
		r.deliver(server, src, wire.SYN|wire.ACK)
		r.deliver(src, dst, wire.ACK)
	}
}

func (r *replayer) close(where string, id int) {
	r.t.Helper()
	c := r.conns[id]
	if p, v := r.deliver(c.server, c.src, wire.FIN|wire.ACK); v.Kind != Forward || AddrPort(p.Src, p.SrcPort) != c.dst {
		r.t.Fatalf("%s: the server's FIN: %v from %v", where, v, AddrPort(p.Src, p.SrcPort))
	}
}

func (r *replayer) expire(where string, ids []int) {
	r.t.Helper()
	for _, id := range ids {
		c := r.conns[id]
		if r.proto == ProtoTCP {
			r.deliver(c.src, c.dst, wire.RST)
		}
	}
	if r.proto == ProtoUDP {
		r.t.Fatalf("%s: a UDP connection cannot be ended early", where)
	}
	r.now += 15e9
	r.e.Expire(r.now, 1<<20)
}

func (r *replayer) compare(where string, dests [][]any) {
	r.t.Helper()
	want := map[string][3]int32{}
	for _, d := range dests {
		want[d[0].(string)] = [3]int32{int32(d[1].(float64)), int32(d[2].(float64)), int32(d[3].(float64))}
	}
	got := map[string][3]int32{}
	r.e.Update(func(tx *Tx) {
		for _, s := range tx.Services() {
			for _, d := range s.Servers {
				got[AddrPort(d.Key.Addr, d.Key.Port).String()] = [3]int32{d.Weight, d.Active, d.Inactive}
			}
		}
	})
	if len(got) != len(want) {
		r.t.Fatalf("%s: %d servers, want %d", where, len(got), len(want))
	}
	for k, w := range want {
		if got[k] != w {
			r.t.Errorf("%s: %s has weight, active, inactive %v, in the kernel %v", where, k, got[k], w)
		}
	}
}
