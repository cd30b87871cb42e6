package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/cmd/vsnat/internal/table"
)

// TestTablesFit prints every table with figures as large as they get, and with
// the longest IPv4 addresses.
func TestTablesFit(t *testing.T) {
	const most = math.MaxUint64
	long := netip.MustParseAddr("255.255.255.255")
	deadline := uint32(86400 * 99)
	life := &control.Life{}
	for _, e := range control.LifeEvents {
		for _, c := range control.LifeTraffic {
			*life.Event(e).Cell(c) = "reset-server,reset-client"
		}
		life.Event(e).Deadline = &deadline
	}
	id := control.ServiceID{Protocol: control.SCTP, Address: long, Port: 65535}
	stats := control.Stats{Conns: most, InPkts: most, OutPkts: most, InBytes: most, OutBytes: most, CPS: most, InPPS: most, OutPPS: most, InBPS: most, OutBPS: most}
	entry := control.ServerEntry{
		RealServer: control.RealServer{Address: long, Port: 65535, Weight: 65535},
		Active:     math.MaxUint32, Inactive: math.MaxUint32, Persistent: math.MaxUint32, State: control.StateRemoved, Deadline: &deadline,
		LifeCounts: control.LifeCounts{Moved: most, Reset: most, Unreachable: most}, Stats: stats,
	}
	nic := "enp129s0f1np1v9"
	histogram := &latency.Histogram{}
	for _, ns := range []int64{1, 1000, 99_999, 5_000_000, 123_456_789_012} {
		histogram.Record(ns, 1e6)
	}
	var merged latency.Snapshot
	merged.Add(histogram)
	summary := merged.Summarize(100_000)
	slow := daemon.SlowPacket{
		Ago: 59, NIC: nic, Protocol: "icmpv6", Source: id.String(), Dest: id.String(), Length: 65536, Service: &id, Server: id.String(),
		Verdict: "forwarded", Total: 68_719_476_735, Batch: 64, Gap: 68_719_476_735, GC: 68_719_476_735,
		Parts: latency.Parts{WakeUp: 19_719_476_735, Ring: 19_719_476_735, Verdict: 19_719_476_735, Send: 19_719_476_735},
	}
	headers := control.Headers{
		SrcMAC: "02:00:00:00:00:01", DstMAC: "02:00:00:00:00:02", IPProtocol: 6, Src: long, Dst: long, SrcPort: 65535, DstPort: 65535,
		TTL: 255, Length: 65535, TCPFlags: control.FlagNames,
	}
	conn := &control.DecidedConnection{Connection: control.Connection{
		Protocol: control.SCTP, Client: netip.AddrPortFrom(long, 65535), Virtual: netip.AddrPortFrom(long, 65535), Destination: netip.AddrPortFrom(long, 65535),
		State: "ESTABLISHED", Age: 99 * 86400, Expires: 31 * 86400, Method: control.Masq, InPkts: math.MaxUint32, InBytes: most, OutBytes: most, Why: "scheduled",
	}, Timer: 31 * 86400}
	slow.TCPFlags = control.FlagNames
	slow.Decision = &control.Decision{
		Packet: headers, NIC: nic, From: "client", Found: conn, GivenUp: "server-takes-none", Connection: conn, Scheduling: &control.Scheduling{Scheduler: "lblcr", Brief: true},
		Verdict: "forward", NextHop: &control.NextHop{To: long, State: "resolved", Gateway: long, NIC: nic, MTU: 9000},
		Out: []control.Departure{{NIC: nic, Headers: headers}, {NIC: nic, Headers: headers}}, MoreOut: 40,
	}
	times := daemon.Times{Verdict: summary, Pickup: summary, Receive: summary}
	for name, print := range map[string]func(io.Writer) error{
		"status": func(w io.Writer) error {
			return printStatus(w, &daemon.Status{
				Version: daemon.Version, Uptime: 1e8, Guard: "tcx", Services: 65536, Total: stats,
				Connections: daemon.Connections{Now: 123456789, Max: 123456789, Bytes: 1 << 35},
				NICs:        []daemon.NIC{{Name: nic, Stats: daemon.NICStats{RxFrames: most, RxBytes: most, RxDropped: most, TxFrames: most, TxBytes: most, TxErrors: most, TxMerged: most}}},
			})
		},
		"drops": func(w io.Writer) error {
			return printDrops(w, &daemon.Drops{
				Reasons: map[string]string{"neighbour-failed": strings.Repeat("what it means ", 10)},
				NICs: []daemon.NICDrops{{
					Name: nic, Received: most, Forwarded: most, Replied: most, Passed: most, Held: most,
					Dropped: map[string]uint64{"neighbour-failed": most}, RingFull: most,
				}},
			})
		},
		"latency": func(w io.Writer) error {
			return printLatency(w, &daemon.Latency{
				Budget: 100_000, Since: 1e8, Times: times, NICs: []daemon.NICLatency{{Name: nic, Times: times}, {Name: nic, Times: times}},
				Services: []daemon.ServiceLatency{{Service: id, Verdict: summary, Receive: summary}}, Slowest: []daemon.SlowPacket{slow, slow},
				Machine: daemon.Machine{Gaps: daemon.Waits{Count: 12000, Sum: 60e9, Longest: 59e9}, RunQueue: 60e9, Stolen: 1},
			}, false)
		},
		"latency of a service": func(w io.Writer) error {
			l := &daemon.Latency{Budget: 100_000, Times: times, Services: []daemon.ServiceLatency{{Service: id, Verdict: summary, Receive: summary}}, Slowest: []daemon.SlowPacket{slow}}
			if err := onlyService(l, id); err != nil {
				return err
			}
			return printLatency(w, l, false)
		},
		"server": func(w io.Writer) error {
			return printServers(w, []control.ServiceEntry{{Service: control.Service{ServiceID: id, Scheduler: "lblcr"}, Servers: []control.ServerEntry{entry}}})
		},
		"conns": func(w io.Writer) error {
			fmt.Fprintf(w, connNarrow, connTitles...)
			ap := netip.AddrPortFrom(long, 65535)
			return printConn(w, connNarrow, &control.Connection{
				Protocol: control.SCTP, State: "ESTABLISHED", Age: 99 * 86400, Expires: 31 * 86400, InBytes: most, OutBytes: most, Why: "scheduled",
				Client: ap, Virtual: ap, Destination: ap,
			})
		},
		"life": func(w io.Writer) error { return printLife(w, id, life) },
		"set": func(w io.Writer) error {
			return printSettings(w, []control.Setting{{Name: "expire_quiescent_template", Value: math.MaxInt32, Default: math.MaxInt32, Help: strings.Repeat("word ", 30)}})
		},
		"mark": func(w io.Writer) error {
			p := netip.PrefixFrom(long, 31)
			return printMarks(w, []control.MarkRule{{Mark: math.MaxUint32, Src: p, Dst: p, Protocol: control.UDP, FirstPort: 10000, LastPort: 65535, NIC: nic}})
		},
	} {
		var b bytes.Buffer
		if err := print(&b); err != nil || b.Len() == 0 {
			t.Errorf("%s: %v", name, err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > table.Width {
				t.Errorf("%s: %d columns: %s", name, n, line)
			}
		}
	}
}

// TestRepeat watches where there is no terminal.
func TestRepeat(t *testing.T) {
	for _, asJSON := range []bool{false, true} {
		var b bytes.Buffer
		left, end := 3, errors.New("the end")
		err := repeat(context.Background(), &b, time.Millisecond, asJSON, func(_ context.Context, w io.Writer) error {
			if left == 0 {
				return end
			}
			left--
			_, err := io.WriteString(w, "x\n")
			return err
		})
		want := "x\n\nx\n\nx\n\n"
		if asJSON {
			want = "x\nx\nx\n"
		}
		if !errors.Is(err, end) || b.String() != want {
			t.Errorf("%v, %q, want %q", err, b.String(), want)
		}
	}
}

// Where a packet's time went is told from the longest part on, with what the machine
// did meanwhile.
func TestWhereTo(t *testing.T) {
	for _, c := range []struct {
		name string
		p    daemon.SlowPacket
		want string
	}{
		{"all parts", daemon.SlowPacket{Batch: 1, Parts: latency.Parts{WakeUp: 500, Ring: 2000, Verdict: 30, Send: 1000}}, "ring 2µs, send 1µs, wake-up 500ns, verdict 30ns"},
		{"awake, of several", daemon.SlowPacket{Batch: 3, Parts: latency.Parts{Ring: 2000, Verdict: 3000}}, "verdict 3µs, ring 2µs, in a batch of 3"},
		{"not our fault", daemon.SlowPacket{Parts: latency.Parts{Send: 5000}, Gap: 4000, GC: 900}, "send 5µs; scheduling gap of the machine 4µs; garbage collection 900ns"},
	} {
		if got := c.p.Where(); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
