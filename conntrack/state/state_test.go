package state

import (
	"strings"
	"testing"
	"time"
)

// The kernel's tables, copied as text apart from the ones in the code.

const tcpNormalText = `
dir        | event | NO | ES | SS | SR | FW | TW | CL | CW | LA | LI | SA
INPUT      | syn   | SR | ES | ES | SR | SR | SR | SR | SR | SR | SR | SR
INPUT      | fin   | CL | CW | SS | TW | TW | TW | CL | CW | LA | LI | TW
INPUT      | ack   | ES | ES | SS | ES | FW | TW | CL | CW | CL | LI | ES
INPUT      | rst   | CL | CL | CL | SR | CL | CL | CL | CL | LA | LI | SR
OUTPUT     | syn   | SS | ES | SS | SR | SS | SS | SS | SS | SS | LI | SR
OUTPUT     | fin   | TW | FW | SS | TW | FW | TW | CL | TW | LA | LI | TW
OUTPUT     | ack   | ES | ES | SS | ES | FW | TW | CL | CW | LA | ES | ES
OUTPUT     | rst   | CL | CL | SS | CL | CL | TW | CL | CL | CL | CL | CL
INPUT_ONLY | syn   | SR | ES | ES | SR | SR | SR | SR | SR | SR | SR | SR
INPUT_ONLY | fin   | CL | FW | SS | TW | FW | TW | CL | CW | LA | LI | TW
INPUT_ONLY | ack   | ES | ES | SS | ES | FW | TW | CL | CW | CL | LI | ES
INPUT_ONLY | rst   | CL | CL | CL | SR | CL | CL | CL | CL | LA | LI | CL
`

// Rows that are not here are as in the normal table.
const tcpSecureText = `
dir        | event | NO | ES | SS | SR | FW | TW | CL | CW | LA | LI | SA
INPUT      | syn   | SR | ES | ES | SR | SR | SR | SR | SR | SR | SR | SA
INPUT      | fin   | CL | CW | SS | TW | TW | TW | CL | CW | LA | LI | SA
INPUT      | ack   | ES | ES | SS | SR | FW | TW | CL | CW | CL | LI | SA
INPUT      | rst   | CL | CL | CL | SR | CL | CL | CL | CL | LA | LI | CL
OUTPUT     | syn   | SS | ES | SS | SA | SS | SS | SS | SS | SS | LI | SA
INPUT_ONLY | syn   | SA | ES | ES | SR | SA | SA | SA | SA | SA | SA | SA
`

const sctpText = `
dir | event       | NO | I1 | IN | CS | CR | CW | CO | CE | ES | SS | SR | SA | RJ | CL
IN  | DATA        | ES | I1 | IN | CS | CR | CW | CO | CE | ES | SS | SR | SA | RJ | CL
IN  | INIT        | I1 | IN | IN | CS | CR | CW | CO | CE | ES | SS | SR | SA | IN | IN
IN  | INIT_ACK    | CW | CW | CW | CS | CR | CO | CO | CE | ES | SS | SR | SA | RJ | CL
IN  | COOKIE_ECHO | CR | IN | IN | CR | CR | CW | CO | CE | ES | SS | SR | SA | RJ | CL
IN  | COOKIE_ACK  | ES | I1 | IN | CS | CR | CW | CO | ES | ES | SS | SR | SA | RJ | CL
IN  | SHUTDOWN    | SR | I1 | IN | CS | CR | CW | CO | CE | SR | SS | SR | SA | RJ | CL
IN  | SHUT_ACK    | CL | IN | IN | CS | CR | CW | CO | CE | ES | CL | SR | CL | RJ | CL
IN  | SHUT_COMPL  | CL | CL | CL | CS | CR | CW | CO | CE | ES | SS | SR | CL | RJ | CL
IN  | ERROR       | CL | I1 | IN | CS | CR | CW | CO | CL | ES | SS | SR | SA | RJ | CL
IN  | ABORT       | CL | CL | CL | CL | CL | RJ | CL | CL | CL | CL | CL | CL | CL | CL
OUT | DATA        | ES | I1 | IN | CS | CR | CW | CO | CE | ES | SS | SR | SA | RJ | CL
OUT | INIT        | CW | CW | CW | CW | CW | CW | CW | CW | ES | CW | CW | CW | CW | CW
OUT | INIT_ACK    | CS | CS | CS | CS | CR | CW | CO | CE | ES | SS | SR | SA | RJ | CL
OUT | COOKIE_ECHO | CE | CE | CE | CE | CE | CE | CE | CE | ES | SS | SR | SA | RJ | CL
OUT | COOKIE_ACK  | ES | ES | ES | ES | ES | ES | ES | ES | ES | SS | SR | SA | RJ | CL
OUT | SHUTDOWN    | SS | SS | SS | SS | SS | SS | SS | SS | SS | SS | SR | SA | RJ | CL
OUT | SHUT_ACK    | SA | SA | SA | SA | SA | CW | CO | CE | ES | SA | SA | SA | RJ | CL
OUT | SHUT_COMPL  | CL | I1 | IN | CS | CR | CW | CO | CE | ES | SS | SR | SA | RJ | CL
OUT | ERROR       | CL | CL | CL | CL | CL | CW | CO | CE | ES | SS | SR | SA | RJ | CL
OUT | ABORT       | CL | RJ | CL | CL | CL | CL | CL | CL | CL | CL | CL | CL | CL | CL
INO | DATA        | ES | I1 | IN | CS | CR | ES | CO | CE | ES | SS | SR | SA | RJ | CL
INO | INIT        | I1 | IN | IN | IN | IN | IN | CO | CE | ES | SS | SR | SA | IN | IN
INO | INIT_ACK    | CE | CE | CE | CE | CE | CE | CO | CE | ES | SS | SR | SA | RJ | CL
INO | COOKIE_ECHO | ES | ES | ES | ES | ES | ES | CO | CE | ES | SS | SR | SA | RJ | CL
INO | COOKIE_ACK  | ES | I1 | IN | ES | ES | CW | ES | ES | ES | SS | SR | SA | RJ | CL
INO | SHUTDOWN    | SR | I1 | IN | CS | CR | CW | CO | CE | SR | SS | SR | SA | RJ | CL
INO | SHUT_ACK    | CL | IN | IN | CS | CR | CW | CO | CE | CL | CL | SR | CL | RJ | CL
INO | SHUT_COMPL  | CL | CL | CL | CL | CL | CW | CO | CE | ES | SS | CL | CL | RJ | CL
INO | ERROR       | CL | I1 | IN | CS | CR | CW | CO | CE | ES | SS | SR | SA | RJ | CL
INO | ABORT       | CL | CL | CL | CL | CL | RJ | CL | CL | CL | CL | CL | CL | CL | CL
`

// parse returns the rows of a text table as state numbers by "dir event".
func parse(t *testing.T, text string) map[string][]uint8 {
	t.Helper()
	rows := map[string][]uint8{}
	var column map[string]uint8
	for line := range strings.Lines(strings.TrimSpace(text)) {
		cells := strings.Split(line, "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if column == nil {
			column = map[string]uint8{}
			for i, head := range cells[2:] {
				column[head] = uint8(i)
			}
			continue
		}
		if len(cells) != len(column)+2 {
			t.Fatalf("row %q has %d cells, want %d", line, len(cells), len(column)+2)
		}
		var next []uint8
		for _, head := range cells[2:] {
			st, ok := column[head]
			if !ok {
				t.Fatalf("row %q: no state %q", line, head)
			}
			next = append(next, st)
		}
		rows[cells[0]+" "+cells[1]] = next
	}
	return rows
}

func TestTCPTables(t *testing.T) {
	normal := parse(t, tcpNormalText)
	changed := parse(t, tcpSecureText)
	if len(normal) != 12 || len(changed) != 6 {
		t.Fatalf("%d and %d rows, want 12 and 6", len(normal), len(changed))
	}
	for d, dir := range []string{"INPUT", "OUTPUT", "INPUT_ONLY"} {
		for e, event := range []string{"syn", "fin", "ack", "rst"} {
			name := dir + " " + event
			secure, ok := changed[name]
			if !ok {
				secure = normal[name]
			}
			for cur := range TCPStates {
				if got, want := NextTCP(false, Dir(d), Event(e), TCP(cur)), TCP(normal[name][cur]); got != want {
					t.Errorf("normal, %s, state %d: next is %d, want %d", name, cur, got, want)
				}
				if got, want := NextTCP(true, Dir(d), Event(e), TCP(cur)), TCP(secure[cur]); got != want {
					t.Errorf("secure, %s, state %d: next is %d, want %d", name, cur, got, want)
				}
			}
		}
	}
}

func TestSCTPTable(t *testing.T) {
	rows := parse(t, sctpText)
	if len(rows) != 30 {
		t.Fatalf("%d rows, want 30", len(rows))
	}
	events := []string{
		"DATA", "INIT", "INIT_ACK", "COOKIE_ECHO", "COOKIE_ACK",
		"SHUTDOWN", "SHUT_ACK", "SHUT_COMPL", "ERROR", "ABORT",
	}
	for d, dir := range []string{"IN", "OUT", "INO"} {
		for e, event := range events {
			for cur := range SCTPStates {
				got, want := NextSCTP(Dir(d), ChunkEvent(e), SCTP(cur)), SCTP(rows[dir+" "+event][cur])
				if got != want {
					t.Errorf("%s %s, state %d: next is %d, want %d", dir, event, cur, got, want)
				}
			}
		}
	}
}

// TestAnyNumber checks that no number makes a table panic.
func TestAnyNumber(t *testing.T) {
	for a := range 256 {
		for b := range 256 {
			for _, secure := range []bool{false, true} {
				for _, got := range []TCP{
					NextTCP(secure, Dir(a), Event(b), TCPEstablished),
					NextTCP(secure, Input, Event(a), TCP(b)),
				} {
					if got >= TCPStates {
						t.Fatalf("NextTCP gave state %d for %d, %d", got, a, b)
					}
				}
			}
			for _, got := range []SCTP{
				NextSCTP(Dir(a), ChunkEvent(b), SCTPEstablished),
				NextSCTP(Output, ChunkEvent(a), SCTP(b)),
			} {
				if got >= SCTPStates {
					t.Fatalf("NextSCTP gave state %d for %d, %d", got, a, b)
				}
			}
			known := map[int]int{1: 1, 6: 11, 17: 1, 58: 1, 132: 14}
			if (Name(uint8(a), uint8(b)) == "ERR!") != (b >= known[a] && a != 0) {
				t.Fatalf("protocol %d, state %d is called %q", a, b, Name(uint8(a), uint8(b)))
			}
		}
	}
	if got := NextTCP(false, Input, TCPOther, TCPEstablished); got != TCPClose {
		t.Errorf("a segment without flags leads to %d, want CLOSE", got)
	}
}

func TestTCPEvent(t *testing.T) {
	const fin, syn, rst, psh, ack, urg = 1, 2, 4, 8, 16, 32
	for _, c := range []struct {
		flags uint8
		want  Event
	}{
		{0, TCPOther},
		{psh | urg | 0xc0, TCPOther},
		{syn, TCPSyn},
		{syn | ack, TCPSyn},
		{syn | fin, TCPSyn},
		{syn | rst, TCPRst},
		{fin | ack, TCPFin},
		{fin, TCPFin},
		{fin | psh | ack, TCPFin},
		{ack, TCPAck},
		{ack | psh | urg, TCPAck},
		{rst, TCPRst},
		{rst | ack, TCPRst},
		{0xff, TCPRst},
	} {
		if got := TCPEvent(c.flags); got != c.want {
			t.Errorf("flags %#02x: event %d, want %d", c.flags, got, c.want)
		}
	}
}

func TestSCTPEvent(t *testing.T) {
	want := map[uint8]ChunkEvent{
		1: ChunkInit, 2: ChunkInitAck, 6: ChunkAbort, 7: ChunkShutdown, 8: ChunkShutdownAck,
		9: ChunkError, 10: ChunkCookieEcho, 11: ChunkCookieAck, 14: ChunkShutdownComplete,
	}
	for first := range 256 {
		for second := range 256 {
			w := want[uint8(first)] // DATA where it has none
			if second == 6 && (first == 10 || first == 11) {
				w = ChunkAbort
			}
			if got := SCTPEvent(uint8(first), uint8(second)); got != w {
				t.Fatalf("chunks %d, %d: event %d, want %d", first, second, got, w)
			}
		}
	}
}

// TestTCPRuns follows whole connections: what IPVS shows while they last.
func TestTCPRuns(t *testing.T) {
	const fin, syn, ack = 1, 2, 16
	type step struct {
		dir   Dir
		flags uint8
		want  string
		secs  int64
	}
	for name, steps := range map[string][]step{
		"masquerading, client closes": {
			{Input, syn, "SYN_RECV", 60},
			{Output, syn | ack, "SYN_RECV", 60},
			{Input, ack, "ESTABLISHED", 900},
			{Input, fin | ack, "CLOSE_WAIT", 60},
			{Output, ack, "CLOSE_WAIT", 60},
			{Output, fin | ack, "TIME_WAIT", 120},
			{Input, ack, "TIME_WAIT", 120},
		},
		"masquerading, server closes": {
			{Input, syn, "SYN_RECV", 60},
			{Output, syn | ack, "SYN_RECV", 60},
			{Input, ack, "ESTABLISHED", 900},
			{Output, fin | ack, "FIN_WAIT", 120},
			{Input, ack, "FIN_WAIT", 120},
			{Input, fin | ack, "TIME_WAIT", 120},
		},
		"direct": {
			{InputOnly, syn, "SYN_RECV", 60},
			{InputOnly, ack, "ESTABLISHED", 900},
			{InputOnly, fin | ack, "FIN_WAIT", 120},
			{InputOnly, ack, "FIN_WAIT", 120},
		},
	} {
		timeouts := DefaultTimeouts()
		st := TCPNone
		for i, s := range steps {
			st = NextTCP(false, s.dir, TCPEvent(s.flags), st)
			if got := Name(6, uint8(st)); got != s.want {
				t.Fatalf("%s, packet %d: state %s, want %s", name, i, got, s.want)
			}
			if got := timeouts.Of(6, uint8(st)); got != s.secs*int64(time.Second) {
				t.Errorf("%s, packet %d: timeout %d ns, want %d s", name, i, got, s.secs)
			}
		}
	}
}

func TestNamesActiveTimeouts(t *testing.T) {
	timeouts := DefaultTimeouts()
	for _, p := range []struct {
		proto uint8
		text  string // number, name, seconds, active
	}{
		{6, `NONE 2 -; ESTABLISHED 900 active; SYN_SENT 120 active; SYN_RECV 60 active; FIN_WAIT 120 -; TIME_WAIT 120 -;
			CLOSE 10 -; CLOSE_WAIT 60 -; LAST_ACK 30 -; LISTEN 120 -; SYNACK 120 active`},
		{17, `UDP 300 -`},
		{132, `NONE 2 -; INIT1 4 -; INIT 61 -; C-SENT 61 -; C-REPLIED 61 -; C-WAIT 61 -; COOKIE 61 -; C-ECHOED 61 -;
			ESTABLISHED 900 active; S-SENT 61 -; S-RECEIVED 61 -; S-ACK-SENT 61 -; REJECTED 4 -; CLOSED 61 -`},
	} {
		for st, row := range strings.Split(p.text, ";") {
			f := strings.Fields(row)
			if got := Name(p.proto, uint8(st)); got != f[0] {
				t.Errorf("protocol %d, state %d is called %q, want %q", p.proto, st, got, f[0])
			}
			if got := time.Duration(timeouts.Of(p.proto, uint8(st))); got.String() != mustSeconds(t, f[1]).String() {
				t.Errorf("protocol %d, %s: timeout %v, want %s s", p.proto, f[0], got, f[1])
			}
			if got := Active(p.proto, uint8(st)); got != (f[2] == "active") {
				t.Errorf("protocol %d, %s: active is %v", p.proto, f[0], got)
			}
		}
	}
	if got := Name(0, 0); got != "NONE" {
		t.Errorf("a firewall mark's template is in state %q, want NONE", got)
	}
	if TemplateName(false) != "NONE" || TemplateName(true) != "ASSURED" {
		t.Errorf("templates are called %q and %q", TemplateName(false), TemplateName(true))
	}
	if Active(50, 1) || timeouts.Of(50, 0) != 0 || timeouts.Of(6, 11) != 0 {
		t.Error("what is no state is active or has a timeout")
	}
}

func mustSeconds(t *testing.T, s string) time.Duration {
	d, err := time.ParseDuration(s + "s")
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestSet(t *testing.T) {
	got, want := DefaultTimeouts(), DefaultTimeouts()
	got.Set(0, 0, 0)
	if got != want {
		t.Fatal("Set of zeros changed a timeout")
	}
	got.Set(3600e9, 0, 0)
	want.TCP[1] = 3600e9
	if got != want {
		t.Fatal("Set of the first did not change ESTABLISHED alone")
	}
	got.Set(0, 7e9, 0)
	want.TCP[4] = 7e9
	if got != want {
		t.Fatal("Set of the second did not change FIN_WAIT alone")
	}
	got.Set(0, 0, 8e9)
	want.UDP = 8e9
	if got != want {
		t.Fatal("Set of the third did not change UDP alone")
	}
	if DefaultTimeouts() == got {
		t.Fatal("Set changed the defaults")
	}
}

func TestNoAllocs(t *testing.T) {
	timeouts := DefaultTimeouts()
	var sum int64
	if n := testing.AllocsPerRun(100, func() {
		st := NextTCP(false, Input, TCPEvent(2), TCPNone)
		sum += timeouts.Of(6, uint8(st)) + int64(len(Name(6, uint8(st))))
		as := NextSCTP(Input, SCTPEvent(1, 0), SCTPNone)
		sum += timeouts.Of(132, uint8(as))
	}); n != 0 {
		t.Errorf("%v allocations, want none (%d)", n, sum)
	}
}
