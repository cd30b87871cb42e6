package sched_test

import (
	"bufio"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"vsnat/sched"
)

// The traces hold what a real kernel picked. They are written for the whole
// engine; here each is driven through the bare scheduler, with the little of
// the engine that picks depend on (counters, thresholds, templates) rebuilt
// below from its rule.
func TestGolden(t *testing.T) {
	dir := cmp.Or(os.Getenv("VSNAT_GOLDEN"), filepath.Join("..", "nat", "testdata", "schedulers"))
	var files []string
	for _, pattern := range []string{"*.jsonl", "*.jsonl.gz"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) == 0 {
		t.Fatalf("no traces (*.jsonl, *.jsonl.gz) in %s", dir)
	}
	slices.Sort(files)
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimSuffix(filepath.Base(file), ".gz"), ".jsonl")
		t.Run(name, func(t *testing.T) { replayFile(t, file) })
	}
}

// event is one line of a trace.
type event struct {
	Type    string
	Proto   string
	Ipvsadm string
	ID      int
	Src     netip.AddrPort
	Dst     string // ip:port of a connect
	To      *string
	IDs     []int
	Dests   [][4]any // server, weight, active, inactive
}

func replayFile(t *testing.T, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var r io.Reader = f
	if strings.HasSuffix(file, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			t.Fatal(err)
		}
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	var p *player
	var compared, failures int
	for n := 1; lines.Scan(); n++ {
		var ev event
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			t.Fatalf("line %d: %v", n, err)
		}
		if ev.Type == "meta" {
			p = &player{t: t, tcp: ev.Proto == "tcp", conns: map[int]*goldenConn{}, templates: map[string]*server{}}
			continue
		}
		if ev.Type == "connect" || ev.Type == "state" {
			compared++
		}
		if err := p.play(&ev); err != nil {
			t.Errorf("line %d: %v: %s", n, err, lines.Bytes())
			if failures++; failures == 10 {
				t.Fatal("giving up after 10 differences")
			}
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	if compared == 0 {
		t.Fatal("nothing to compare in the trace")
	}
}

// server is a sched.Server with what the engine keeps beside it.
type server struct {
	sched.Server
	upper, lower int32
}

// goldenConn is one connection of a trace.
type goldenConn struct {
	server *server
	active bool
}

// player drives one scheduler through one trace.
type player struct {
	t         *testing.T
	tcp       bool
	sched     sched.Scheduler
	flags     sched.Flags
	onePacket bool
	fwmark    bool
	port      uint16 // of the service, 0 for a fwmark service
	netmask   int    // prefix length of a template's client, 0 if not persistent
	list      []*sched.Server
	servers   []*server // those of list and deleted ones, which come back with their counters
	conns     map[int]*goldenConn
	templates map[string]*server
	now       int64
}

func (p *player) play(ev *event) error {
	p.now += 1e6
	switch ev.Type {
	case "cmd":
		return p.command(strings.Fields(ev.Ipvsadm))
	case "connect":
		return p.connect(ev)
	case "close":
		if c := p.conns[ev.ID]; c.active {
			c.active = false
			c.server.Active.Add(-1)
		}
	case "expire":
		for _, id := range ev.IDs {
			c := p.conns[id]
			delete(p.conns, id)
			if c.active {
				c.server.Active.Add(-1)
			}
			c.server.unbind()
		}
	case "state":
		return p.state(ev.Dests)
	case "mark", "end":
	default:
		return fmt.Errorf("unknown event %q", ev.Type)
	}
	return nil
}

// command obeys the part of ipvsadm that the traces use.
func (p *player) command(args []string) error {
	var verb, schedFlags string
	var sv *server // the values of -r, -w, -x, -y
	var weight, upper, lower int64 = 1, 0, 0
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		value := func() string {
			v := args[0]
			args = args[1:]
			return v
		}
		number := func() int64 {
			n, err := strconv.ParseInt(value(), 10, 32)
			if err != nil {
				p.t.Fatal(err)
			}
			return n
		}
		switch arg {
		case "-A", "-a", "-e", "-d":
			verb = arg
		case "-t", "-u":
			_, port, _ := strings.Cut(value(), ":")
			n, err := strconv.ParseUint(port, 10, 16)
			if err != nil {
				return err
			}
			p.port = uint16(n)
		case "-f":
			p.fwmark = true
			value()
		case "-s":
			s, err := sched.New(value())
			if err != nil {
				return err
			}
			p.sched = s
		case "-b":
			schedFlags = value()
		case "-o":
			p.onePacket = true
		case "-p":
			value()
			p.netmask = 32
		case "-M":
			mask := netip.MustParseAddr(value()).As4()
			p.netmask = 0
			for _, b := range mask {
				for ; b != 0; b <<= 1 {
					p.netmask++
				}
			}
		case "-r":
			sv = p.find(netip.MustParseAddrPort(value()))
		case "-w":
			weight = number()
		case "-x":
			upper = number()
		case "-y":
			lower = number()
		case "-m":
		default:
			return fmt.Errorf("unknown option %q", arg)
		}
	}
	for name := range strings.SplitSeq(schedFlags, ",") {
		switch name {
		case "sh-fallback", "mh-fallback", "flag-1":
			p.flags |= sched.Flag1
		case "sh-port", "mh-port", "flag-2":
			p.flags |= sched.Flag2
		case "":
		default:
			return fmt.Errorf("unknown scheduler flag %q", name)
		}
	}
	if verb == "-A" {
		p.sched.Init(nil)
		return nil
	}
	at := slices.Index(p.list, &sv.Server)
	if (verb == "-a") != (at < 0) {
		return fmt.Errorf("%s of a server at index %d", verb, at)
	}
	if verb == "-d" {
		sv.Available = false
		p.list = slices.Delete(slices.Clone(p.list), at, at+1)
		p.sched.Changed(sched.Delete, &sv.Server, at, p.list)
		return nil
	}
	if verb == "-a" || weight != 0 {
		sv.LastWeight = int32(weight)
	}
	sv.Weight = int32(weight)
	sv.limit(int32(upper), int32(lower))
	if verb == "-e" {
		p.sched.Changed(sched.Edit, &sv.Server, at, p.list)
		return nil
	}
	sv.Available = true
	p.list = slices.Insert(slices.Clone(p.list), 0, &sv.Server)
	p.sched.Changed(sched.Add, &sv.Server, 0, p.list)
	return nil
}

// find returns the server of that address, a new one if there was none.
func (p *player) find(a netip.AddrPort) *server {
	for _, s := range p.servers {
		if s.Addr == a.Addr().As16() && s.Port == a.Port() {
			return s
		}
	}
	s := &server{}
	s.Addr, s.Port = a.Addr().As16(), a.Port()
	p.servers = append(p.servers, s)
	return s
}

func (p *player) connect(ev *event) error {
	dst := netip.MustParseAddrPort(ev.Dst)
	got := p.choose(ev.Src, dst)
	gotName := "none"
	if got != nil {
		// The server's port, or the packet's where that is kept.
		port := got.Port
		if port == 0 || (p.fwmark && p.netmask > 0) {
			port = dst.Port()
		}
		gotName = netip.AddrPortFrom(netip.AddrFrom16(got.Addr).Unmap(), port).String()
	}
	want := "none"
	if ev.To != nil {
		want = *ev.To
	}
	if gotName != want {
		return fmt.Errorf("picked %s, kernel %s", gotName, want)
	}
	if got == nil || p.onePacket {
		return nil
	}
	got.bind()
	if p.tcp {
		got.Active.Add(1)
	}
	p.conns[ev.ID] = &goldenConn{server: got, active: p.tcp}
	return nil
}

// choose takes the template's server, if there is such a template, or asks the
// scheduler. No trace is long enough for a template to expire.
func (p *player) choose(src, dst netip.AddrPort) *server {
	var key string
	if p.netmask > 0 {
		client, _ := src.Addr().Prefix(p.netmask)
		switch {
		case p.fwmark:
			key = client.String()
		case p.port == dst.Port():
			key = fmt.Sprint(client, dst)
		default:
			key = fmt.Sprint(client, dst.Addr())
		}
		if s := p.templates[key]; s != nil && s.Available {
			return s
		}
	}
	picked := p.sched.Pick(p.list, &sched.Request{
		Client:     src.Addr().As16(),
		Virtual:    dst.Addr().As16(),
		ClientPort: src.Port(),
		Flags:      p.flags,
		Now:        p.now,
	})
	if picked == nil {
		return nil
	}
	i := slices.IndexFunc(p.servers, func(s *server) bool { return &s.Server == picked })
	if key != "" {
		p.templates[key] = p.servers[i]
	}
	return p.servers[i]
}

func (p *player) state(want [][4]any) error {
	var got [][4]any
	for _, s := range p.list {
		name := netip.AddrPortFrom(netip.AddrFrom16(s.Addr).Unmap(), s.Port).String()
		active, total := s.Active.Load(), s.Total.Load()
		got = append(got, [4]any{name, float64(s.Weight), float64(active), float64(total - active)})
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("state is %v", got)
	}
	return nil
}

// limit sets the thresholds and judges the present count by them.
func (s *server) limit(upper, lower int32) {
	s.upper, s.lower = upper, lower
	switch total := s.Total.Load(); {
	case upper == 0:
		s.Overloaded.Store(false)
	case total >= upper:
		s.Overloaded.Store(true)
	case total < s.low():
		s.Overloaded.Store(false)
	}
}

// low is the count below which an overloaded server recovers.
func (s *server) low() int32 {
	if s.lower != 0 {
		return s.lower
	}
	return s.upper - s.upper/4
}

// bind counts a connection and sets Overloaded when the upper threshold is met.
func (s *server) bind() {
	if total := s.Total.Add(1); s.upper != 0 && total == s.upper {
		s.Overloaded.Store(total >= s.low())
	}
}

// unbind uncounts a connection and clears Overloaded when the count leaves the
// lower threshold.
func (s *server) unbind() {
	if total := s.Total.Add(-1); total+1 == s.low() {
		s.Overloaded.Store(s.upper != 0 && total >= s.upper)
	}
}
