package main

import (
	"bytes"
	"context"
	"errors"
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
	summary := latency.Summarize(100_000, histogram)
	for name, print := range map[string]func(io.Writer) error{
		"status": func(w io.Writer) error {
			return printStatus(w, &daemon.Status{
				Version: daemon.Version, Uptime: 1e8, Guard: "tcx", Services: 65536, Total: stats,
				Connections: daemon.Connections{Now: 123456789, Max: 123456789, Bytes: 1 << 35},
				NICs:        []daemon.NIC{{Name: nic, Stats: daemon.NICStats{RxFrames: most, RxBytes: most, RxDropped: most, TxFrames: most, TxBytes: most, TxErrors: most}}},
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
			return printLatency(w, &daemon.Latency{Budget: 100_000, Pickup: summary, Receive: summary})
		},
		"server": func(w io.Writer) error {
			return printServers(w, []control.ServiceEntry{{Service: control.Service{ServiceID: id, Scheduler: "lblcr"}, Servers: []control.ServerEntry{entry}}})
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
