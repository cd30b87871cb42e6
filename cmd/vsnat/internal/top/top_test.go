package top

import (
	"errors"
	"math"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/cmd/vsnat/internal/watch"
)

// figuresOf returns a sample with that many services of two servers; the higher
// its number the less traffic a service has, and the more connections.
func figuresOf(services int, most uint64) *Sample {
	h := &latency.Histogram{}
	h.Record(30_000, 99)
	h.Record(250_000, 7)
	s := &Sample{
		At: time.Unix(1000, 0),
		Status: daemon.Status{
			Version: "0.1.0", Uptime: 1e6, Guard: "tcx", Services: services,
			Connections: daemon.Connections{Now: 1 << 30, Max: 1 << 31},
			Total:       control.Stats{CPS: most, InPPS: most, OutPPS: most, InBPS: most, OutBPS: most},
		},
		Drops:   daemon.Drops{NICs: []daemon.NICDrops{{Received: most, Forwarded: most, Dropped: map[string]uint64{"no-connection": most, "bad-checksum": most, "neighbour-failed": most}, Balanced: true}}},
		Latency: daemon.Latency{Budget: 100_000, Times: daemon.Times{Pickup: latency.Summarize(100_000, h)}},
	}
	s.Latency.Slowest = []daemon.SlowPacket{{
		Total: 12_345_678, Ago: 59, Parts: latency.Parts{WakeUp: 100_000, Ring: 12_000_000, Verdict: 45_678, Send: 200_000}, Batch: 64, Gap: 11_000_000, GC: 1_000_000,
	}}
	for i := range services {
		n := uint64(services - i)
		server := func(last byte, state control.ServerState) control.ServerEntry {
			return control.ServerEntry{
				RealServer: control.RealServer{Address: netip.AddrFrom4([4]byte{255, 255, 255, last}), Port: 65535, Weight: 65535},
				Active:     math.MaxUint32, Inactive: uint32(i), State: state, Stats: control.Stats{CPS: most, InPPS: most, OutPPS: most, InBPS: n},
			}
		}
		s.Services = append(s.Services, control.ServiceEntry{
			Service: control.Service{Scheduler: "lblcr", ServiceID: control.ServiceID{Protocol: control.SCTP, Address: netip.AddrFrom4([4]byte{255, 255, 255, byte(100 + i)}), Port: 65535}},
			Stats:   control.Stats{CPS: most, InPPS: most, OutPPS: most, InBPS: n},
			Servers: []control.ServerEntry{server(201, control.StateUp), server(202, control.StateDown)},
			Removed: []control.ServerEntry{server(203, control.StateRemoved)},
		})
	}
	return s
}

// attributes are what colours a text and takes no room.
var attributes = regexp.MustCompile("\x1b\\[[0-9;]*m")

func screen(m *model) []string {
	return strings.Split(attributes.ReplaceAllString(m.View().Content, ""), "\n")
}

// TestScreen looks at screens of several sizes, and goes through the keys.
func TestScreen(t *testing.T) {
	before, now := figuresOf(9, 0), figuresOf(9, math.MaxUint64/4)
	now.At = before.At.Add(time.Second)
	now.Latency.Pickup.Buckets[0].Count += 10
	m := &model{before: before, now: now, paint: true}
	press := func(key string) tea.Cmd {
		k := tea.KeyPressMsg{Code: rune(key[0]), Text: key}
		if key == "pgdown" {
			k = tea.KeyPressMsg{Code: tea.KeyPgDown}
		}
		_, cmd := m.Update(k)
		return cmd
	}
	for _, size := range [][2]int{{80, 24}, {200, 60}, {80, 12}, {80, 5}} {
		m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		lines := screen(m)
		if len(lines) > size[1] {
			t.Errorf("%d lines on %v", len(lines), size)
		}
		for _, line := range lines {
			if n := utf8.RuneCountInString(line); n > size[0] {
				t.Errorf("%d columns on %v: %s", n, size, line)
			}
		}
	}
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 24})
	lines := screen(m)
	for i, want := range map[int]string{3: "latency  [####----------] p50 30.1µs", 4: "slowest  12.3ms, 59s ago: ring 12ms, ", 6: "drops    ", 9: "sctp:255.255.255.100:6… lblcr", 10: "  255.255.255.201:65535"} {
		if !strings.HasPrefix(lines[i], want) {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	press("pgdown")
	if lines := screen(m); strings.Contains(lines[9], ".100:") || !strings.Contains(lines[23], "of 36") {
		t.Errorf("a page further:\n%s", strings.Join(lines, "\n"))
	}
	for range 10 {
		press("pgdown")
	}
	if lines := screen(m); !strings.Contains(lines[22], "255.255.255.203") {
		t.Errorf("at the end:\n%s", strings.Join(lines, "\n"))
	}
	m.first = 0
	press("s")
	if lines := screen(m); !strings.Contains(lines[9], ".108:") || !strings.Contains(lines[23], "sort: connections") {
		t.Errorf("by connections:\n%s", strings.Join(lines, "\n"))
	}
	press("s")
	if lines := screen(m); !strings.Contains(lines[9], ".100:") {
		t.Errorf("by name:\n%s", strings.Join(lines, "\n"))
	}
	if press("q") == nil {
		t.Error("q does not end it")
	}
}

// TestTrouble looks at what is shown when the director does not answer, began
// anew, or has lost count of frames.
func TestTrouble(t *testing.T) {
	first := figuresOf(1, 1000)
	m := &model{now: first, width: 80, height: 24}
	if lines := screen(m); lines[5] != "frames   -" || lines[6] != "drops    none now, 3000 in all" {
		t.Errorf("at first: %q", lines)
	}
	_, cmd := m.Update(watch.Answer[*Sample]{Err: errors.New("nobody answers")})
	if lines := screen(m); lines[7] != "nobody answers" || cmd == nil {
		t.Errorf("%q", lines)
	}
	anew := figuresOf(1, 10)
	anew.At = first.At.Add(2 * time.Second)
	anew.Drops.NICs[0].Balanced = false
	m.Update(watch.Answer[*Sample]{Value: anew})
	lines := screen(m)
	if lines[7] != "" || lines[6] != "drops    none now, 30 in all" || !strings.Contains(lines[5], "does not balance") {
		t.Errorf("%q", lines)
	}
	if strings.Contains(m.View().Content, "\x1b[3") {
		t.Error("there are colors though none are wanted")
	}
}
