package nat

import (
	"fmt"
	"net/netip"
	"reflect"
	"syscall"
	"testing"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/nat/wire"
)

// set changes settings, from the defaults on.
func (b *bed) set(change func(*Settings)) {
	b.t.Helper()
	s := DefaultSettings()
	change(&s)
	b.e.Update(func(tx *Tx) {
		if err := tx.SetSettings(s); err != nil {
			b.t.Fatal(err)
		}
	})
}

// stateOf returns the name of a connection's state.
func (b *bed) stateOf(c *conntrack.Conn) string {
	twin := b.e.Table().Copy(c)
	return twin.StateName()
}

// newest returns the last connection made.
func (b *bed) newest() (last *conntrack.Conn) {
	b.e.Table().Range(func(c *conntrack.Conn) bool {
		if c.Flags&conntrack.Template == 0 && (last == nil || b.e.Table().Created(c) >= b.e.Table().Created(last)) {
			last = c
		}
		return true
	})
	return last
}

func TestSettingsAreChecked(t *testing.T) {
	b := newBed(t, Options{})
	b.e.Update(func(tx *Tx) {
		if s := tx.Settings(); s != DefaultSettings() {
			t.Errorf("at first %+v", s)
		}
		for _, change := range []func(s *Settings){
			func(s *Settings) { s.ConnReuseMode = -1 },
			func(s *Settings) { s.DropPacket = 4 },
			func(s *Settings) { s.SecureTCP = -1 },
			func(s *Settings) { s.AMDropRate = -1 },
			func(s *Settings) { s.AMemThresh = -1 },
			func(s *Settings) { s.AMemThresh = 1 << 31 },
			func(s *Settings) { s.LBLCExpiration = -1 },
			func(s *Settings) { s.LBLCRExpiration = 1 << 31 },
			func(s *Settings) { s.SyncPorts = 3 },
			func(s *Settings) { s.SyncPorts = 0 },
			func(s *Settings) { s.SyncVersion = 2 },
			func(s *Settings) { s.SyncRetries = 4 },
			func(s *Settings) { s.SyncThreshold = [2]int{50, 50} },
		} {
			s := DefaultSettings()
			change(&s)
			if e, ok := tx.SetSettings(s).(*Error); !ok || e.Errno != syscall.EINVAL {
				t.Errorf("%+v: %v", s, e)
			}
		}
		if s := tx.Settings(); s != DefaultSettings() {
			t.Errorf("a refusal left %+v", s)
		}
	})
}

// A SYN on a connection that is over begins another one.
func TestConnReuse(t *testing.T) {
	closings := map[string]func(b *bed, server netip.AddrPort){
		"established": func(*bed, netip.AddrPort) {},
		"time-wait": func(b *bed, server netip.AddrPort) {
			b.in(serverNIC, packet(ProtoTCP, server, client, wire.FIN|wire.ACK, nil))
			b.in(clientNIC, packet(ProtoTCP, client, vip, wire.FIN|wire.ACK, nil))
		},
		"close": func(b *bed, server netip.AddrPort) {
			b.in(clientNIC, packet(ProtoTCP, client, vip, wire.RST, nil))
		},
		"fin-wait": func(b *bed, server netip.AddrPort) {
			b.in(serverNIC, packet(ProtoTCP, server, client, wire.FIN|wire.ACK, nil))
		},
	}
	for _, c := range []struct {
		mode    int
		state   string
		options string
		reused  bool
	}{
		{1, "established", "", false},
		{1, "time-wait", "", true},
		{1, "close", "", true},
		{1, "fin-wait", "", false},
		{2, "close", "", true},
		{2, "fin-wait", "", false}, // the server's packets pass here
		{0, "time-wait", "", false},
		{0, "close", "", false},
		{1, "time-wait", "-p 100", false},
		{1, "close", "-p 100", false},
	} {
		t.Run(fmt.Sprint(c.state, c.mode, c.options), func(t *testing.T) {
			b := persistBed(t, c.options)
			b.set(func(s *Settings) { s.ConnReuseMode = c.mode })
			server := b.opens(ProtoTCP, client.String(), vip.String())
			b.establish(server, client.String(), vip.String())
			closings[c.state](b, server)
			first := b.newest()
			again := b.opens(ProtoTCP, client.String(), vip.String())
			second := b.newest()
			if (second != first) != c.reused || (again != server) != c.reused {
				t.Fatalf("a SYN in state %d went from %v to %v", first.State, server, again)
			}
			if !c.reused {
				return
			}
			b.seconds(1)
			if n := b.e.Table().Len(); n != 1 {
				t.Errorf("%d connections a second later", n)
			}
			if d := b.servers(web)[server.Addr().String()]; d.Active+d.Inactive != 0 {
				t.Errorf("the old server counts %+v", d)
			}
		})
	}
	t.Run("fin-wait when the server's packets do not pass here", func(t *testing.T) {
		for mode, want := range map[int]bool{0: false, 1: false, 2: true, 3: true} {
			c := conntrack.Conn{State: uint8(state.TCPFinWait), Flags: conntrack.NoOutput}
			if got := reusable(&c, mode); got != want {
				t.Errorf("mode %d: %v", mode, got)
			}
		}
	})
}

// What becomes of a connection when its server is left or deleted.
func TestExpireNodestConn(t *testing.T) {
	quiesce := "-e -t 192.0.2.1:80 -r 10.0.0.13:8080 -m -w 0"
	remove := "-d -t 192.0.2.1:80 -r 10.0.0.13:8080"
	for _, c := range []struct {
		name   string
		on     bool
		change string
		flags  uint8
		want   Verdict
		moves  bool
	}{
		{"quiesced, data", true, quiesce, wire.ACK, forwarded, false},
		{"quiesced, SYN", true, quiesce, wire.SYN, forwarded, true},
		{"quiesced, SYN, off", false, quiesce, wire.SYN, forwarded, false},
		{"deleted, data", true, remove, wire.ACK, passed, false},
		{"deleted, SYN", true, remove, wire.SYN, forwarded, true},
		{"deleted, data, off", false, remove, wire.ACK, drop(ServerGone), false},
		{"deleted, SYN, off", false, remove, wire.SYN, drop(ServerGone), false},
	} {
		for _, options := range []string{"", "-p 100"} {
			t.Run(c.name+options, func(t *testing.T) {
				b := persistBed(t, options)
				b.set(func(s *Settings) { s.ExpireNodestConn, s.ExpireQuiescentTemplate = c.on, true })
				server := b.opens(ProtoTCP, client.String(), vip.String())
				b.establish(server, client.String(), vip.String())
				b.command(c.change)
				v, out := b.in(clientNIC, packet(ProtoTCP, client, vip, c.flags, nil))
				if v != c.want {
					t.Fatalf("%v (%v), want %v (%v)", v, v.Reason, c.want, c.want.Reason)
				}
				if v == forwarded {
					if got := AddrPort(out[0].pkt.Dst, out[0].pkt.DstPort); (got != server) != c.moves {
						t.Errorf("went to %v", got)
					}
				}
				old := func() (n int) {
					b.e.Table().Range(func(x *conntrack.Conn) bool {
						if x.Dest == server.Addr().As16() && x.Flags&conntrack.Template == 0 {
							n++
						}
						return true
					})
					return n
				}
				b.seconds(1)
				if gone := old() == 0; gone != (c.on && (c.change == remove || c.moves)) {
					t.Errorf("the old connection is gone: %v", gone)
				}
			})
		}
	}
}

// Deleting a server ends its connections and templates, and nothing else.
func TestSweepAfterAServerIsDeleted(t *testing.T) {
	b := newBed(t, Options{})
	b.command("-A -u 192.0.2.1:53 -s rr -p 1000")
	for i := 11; i <= 13; i++ {
		b.command(fmt.Sprintf("-a -u 192.0.2.1:53 -r 10.0.0.%d:53 -m", i))
	}
	b.connect()
	const clients = 3000 // more than a sweep takes in a piece
	for i := range clients {
		for port := range 2 {
			src := netip.AddrPortFrom(netip.AddrFrom4([4]byte{100, 1, byte(i >> 8), byte(i)}), uint16(1000+port))
			b.opens(ProtoUDP, src.String(), "192.0.2.1:53")
		}
	}
	if n := b.e.Table().Len(); n != 3*clients+1 {
		t.Fatalf("%d entries", n)
	}
	b.command("-d -u 192.0.2.1:53 -r 10.0.0.12:53")
	b.e.Expire(b.now, 1<<20)
	if n := b.e.Table().Len(); n != 3*clients+1 {
		t.Errorf("%d entries after a deletion without expire_nodest_conn", n)
	}
	b.set(func(s *Settings) { s.ExpireNodestConn = true })
	b.command("-d -u 192.0.2.1:53 -r 10.0.0.13:53")
	for range 20 {
		b.e.Expire(b.now, 1000) // piece by piece
	}
	if n := b.e.Table().Len(); n != clients+1 {
		t.Errorf("%d entries are left, want those of the one server left", n)
	}
	for _, d := range b.e.trash {
		if d.referred() {
			t.Errorf("a deleted server still has %d connections and %d templates", d.Total.Load(), d.templates.Load())
		}
	}
	if d := b.servers(dns)["10.0.0.11"]; d.Inactive != 2*clients/3 || d.Persistent != clients/3 {
		t.Errorf("the server left counts %+v", d)
	}
	// Those that still have templates go where these say, the others elsewhere.
	b.opens(ProtoUDP, "100.1.0.0:5", "192.0.2.1:53")
}

func TestSloppyTCP(t *testing.T) {
	for _, c := range []struct {
		sloppy bool
		flags  uint8
		want   Verdict
		state  state.TCP
	}{
		{false, wire.ACK, passed, 0},
		{true, wire.ACK, forwarded, state.TCPEstablished},
		{true, wire.FIN | wire.ACK, forwarded, state.TCPClose},
		{true, wire.SYN, forwarded, state.TCPSynRecv},
		{true, wire.RST | wire.ACK, passed, 0},
	} {
		b := newBed(t, Options{})
		b.set(func(s *Settings) { s.SloppyTCP = c.sloppy })
		v, _ := b.in(clientNIC, packet(ProtoTCP, client, vip, c.flags, nil))
		if v != c.want || v == forwarded && b.newest().State != uint8(c.state) {
			t.Errorf("sloppy %v, flags %#x: %v, state %d", c.sloppy, c.flags, v, b.newest().State)
		}
	}
}

func TestDropPacket(t *testing.T) {
	b := newBed(t, Options{})
	port := uint16(1000)
	// next sends so many SYNs and says which were dropped, from 1.
	next := func(n int) (dropped []int) {
		t.Helper()
		for i := 1; i <= n; i++ {
			port++
			switch v, _ := b.in(clientNIC, packet(ProtoTCP, addrPort(client.Addr(), port), vip, wire.SYN, nil)); v {
			case drop(Defence):
				dropped = append(dropped, i)
			case forwarded:
			default:
				t.Fatalf("%v (%v)", v, v.Reason)
			}
		}
		return dropped
	}
	want := func(what string, got []int, want ...int) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: dropped %v, want %v", what, got, want)
		}
	}
	level := func(want int) {
		t.Helper()
		b.e.Update(func(tx *Tx) {
			if got := tx.Settings().DropPacket; got != want {
				t.Errorf("drop_packet is %d, want %d", got, want)
			}
		})
	}
	want("never", next(20))
	b.set(func(s *Settings) { s.DropPacket = 3 })
	want("always", next(25), 1, 11, 21)
	// Packets of connections, and of no service, are not counted.
	for range 50 {
		b.in(clientNIC, packet(ProtoTCP, addrPort(client.Addr(), port), vip, wire.ACK, nil))
		b.in(clientNIC, packet(ProtoTCP, addrPort(client.Addr(), port), addrPort(vip.Addr(), 81), wire.SYN, nil))
	}
	want("always, going on", next(10), 6)
	b.set(func(s *Settings) { s.DropPacket, s.AMDropRate = 3, 0 })
	want("rate 0", next(20))

	b.set(func(s *Settings) { s.DropPacket = 1 })
	want("plenty of memory as far as is known", next(10))
	b.e.Defend(1024)
	want("enough memory", next(10))
	level(1)
	b.e.Defend(768) // 1024 / (1024 - 768)
	want("little memory", next(9), 4, 8)
	level(2)
	b.e.Defend(0)
	want("no memory", next(3), 1, 2, 3)
	level(2)
	b.e.Defend(1 << 30)
	want("memory again", next(10))
	level(1)
}

// With secure_tcp a connection is established by the server's answer alone.
func TestSecureTCP(t *testing.T) {
	for _, c := range []struct {
		level, available, after int
		want                    state.TCP
	}{
		{0, 0, 0, state.TCPEstablished},
		{1, 1 << 20, 1, state.TCPEstablished},
		{1, 0, 2, state.TCPSynRecv},
		{2, 1 << 20, 1, state.TCPEstablished},
		{2, 0, 2, state.TCPSynRecv},
		{3, 1 << 20, 3, state.TCPSynRecv},
	} {
		b := newBed(t, Options{})
		b.set(func(s *Settings) { s.SecureTCP = c.level })
		b.e.Defend(c.available)
		b.opens(ProtoTCP, client.String(), vip.String())
		b.in(clientNIC, packet(ProtoTCP, client, vip, wire.ACK, nil))
		if got := state.TCP(b.newest().State); got != c.want {
			t.Errorf("level %d, %d pages: state %d, want %d", c.level, c.available, got, c.want)
		}
		b.e.Update(func(tx *Tx) {
			if got := tx.Settings().SecureTCP; got != c.after {
				t.Errorf("level %d, %d pages: level %d afterwards, want %d", c.level, c.available, got, c.after)
			}
		})
	}
}

// The list of settings has each field once, in order, with a meaning that fits.
func TestSettingList(t *testing.T) {
	list := SettingList()
	if n := reflect.TypeFor[Settings]().NumField(); n != len(list) {
		t.Errorf("%d settings are listed of %d", len(list), n)
	}
	seen := map[any]bool{}
	var s Settings
	for i, v := range list {
		if at := v.at(&s); seen[at] {
			t.Errorf("%s is another one's field", v.Name)
		} else {
			seen[at] = true
		}
		if len(v.Help) == 0 || len(v.Help) > 56 || i > 0 && list[i-1].Name >= v.Name {
			t.Errorf("%s: %q, of %d letters", v.Name, v.Help, len(v.Help))
		}
	}
}

// The checks of values, as the kernel makes them (ip_vs_ctl.c).
func TestSettingValues(t *testing.T) {
	settings := map[string]Setting{}
	for _, v := range SettingList() {
		settings[v.Name] = v
	}
	for _, c := range []struct {
		name string
		to   Value
		want Value // -1 is EINVAL
	}{
		{"sync_threshold", Pair(4, 10), Pair(4, 10)},
		{"sync_threshold", Pair(3, 0), Pair(3, 0)},
		{"sync_threshold", Pair(0, 1), Pair(0, 1)},
		{"sync_threshold", Pair(5, 5), -1},
		{"sync_threshold", 7, Pair(7, 50)},
		{"sync_threshold", 50, -1},
		{"sync_ports", 64, 64},
		{"sync_ports", 6, -1},
		{"sync_ports", 0, -1},
		{"sync_retries", 3, 3},
		{"sync_retries", 4, -1},
		{"sync_version", 0, 0},
		{"drop_entry", 3, 3},
		{"drop_entry", Pair(1, 1), -1},
		{"sloppy_sctp", 2, -1},
		{"am_droprate", 1 << 31, -1},
	} {
		v, s := settings[c.name], DefaultSettings()
		err := v.Set(&s, c.to)
		if e, refused := err.(*Error); refused {
			if c.want != -1 || e.Errno != syscall.EINVAL || s != DefaultSettings() {
				t.Errorf("%s=%v: %v", c.name, c.to, err)
			}
		} else if got := v.Get(&s); got != c.want {
			t.Errorf("%s=%v is %v", c.name, c.to, got)
		}
	}
}
