package daemon

import (
	"encoding/json"
	"flag"
	"net/netip"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/examples"
	"vsnat/cmd/vsnat/internal/explain"
	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

var update = flag.Bool("update", false, "write the examples in documents anew")

// exampleHost is the host of docs/explain.md: clients behind eth0, servers behind
// eth1, and the world behind a router of the clients' network.
type exampleHost struct{ unknownHost }

func (h *exampleHost) Routes() nic.Routes { return h }

func (h *exampleHost) Local(a nic.Addr) bool {
	ip := netip.AddrFrom16(a).Unmap()
	return ip == netip.MustParseAddr("192.0.2.1") || ip == netip.MustParseAddr("10.0.0.1")
}

func (h *exampleHost) Lookup(to nic.Addr) nic.Hop {
	ip := netip.AddrFrom16(to).Unmap()
	switch {
	case h.Local(to):
		return nic.Hop{State: nic.HopLocal}
	case netip.MustParsePrefix("10.0.0.0/24").Contains(ip):
		hop := nic.Hop{
			State: nic.HopResolved, Index: 2, MTU: 1500, NextHop: to, Src: netip.MustParseAddr("10.0.0.1").As16(),
			SrcMAC: [6]byte{2, 5: 2}, DstMAC: [6]byte{2, 3: 2, 5: to[15]},
		}
		if to[15] == 14 {
			hop.State = nic.HopUnresolved
		}
		return hop
	}
	hop := nic.Hop{
		State: nic.HopResolved, Index: 1, MTU: 1500, NextHop: netip.MustParseAddr("192.0.2.254").As16(), Src: netip.MustParseAddr("192.0.2.1").As16(),
		SrcMAC: [6]byte{2, 5: 1}, DstMAC: [6]byte{2, 3: 1, 5: 254},
	}
	if netip.MustParsePrefix("192.0.2.0/24").Contains(ip) {
		hop.NextHop, hop.DstMAC[5] = to, to[15]
	}
	return hop
}

// newExample returns the director of docs/explain.md, and its time.
func newExample(t *testing.T) (d *daemon, now int64) {
	engine, err := nat.New(nat.Options{Guarded: true, Conns: conntrack.Config{Max: 1000}})
	if err != nil {
		t.Fatal(err)
	}
	host := &exampleHost{}
	host.add("eth0")
	host.add("eth1")
	d = &daemon{log: zap.NewNop(), engine: engine, routes: host}
	engine.SetRoutes(host)
	web := control.ServiceID{Protocol: control.TCP, Address: netip.MustParseAddr("192.0.2.1"), Port: 80}
	db := control.ServiceID{Protocol: control.TCP, Address: netip.MustParseAddr("192.0.2.1"), Port: 5432}
	server := func(id control.ServiceID, addr string, weight int32, method control.Method, upper uint32) control.Command {
		return control.Command{
			Op: control.AddServer, Service: &control.Service{ServiceID: id},
			Server: &control.RealServer{Address: netip.MustParseAddr(addr), Port: id.Port, Weight: weight, Method: method, UThreshold: upper},
		}
	}
	cmds := []control.Command{
		{Op: control.AddService, Service: &control.Service{ServiceID: web, Scheduler: "wlc"}},
		server(web, "10.0.0.11", 1, control.Masq, 0), server(web, "10.0.0.12", 2, control.Masq, 0), server(web, "10.0.0.13", 0, control.Masq, 0),
		{Op: control.AddService, Service: &control.Service{ServiceID: db, Scheduler: "rr", Flags: control.Persistent, Timeout: 300, Netmask: control.FullMask}},
		server(db, "10.0.0.21", 1, control.Direct, 0),
	}
	if refused := d.Apply(cmds, control.Atomic); len(refused) > 0 {
		t.Fatal(refused[0].Err)
	}
	from, to := engine.NewWorker(1), engine.NewWorker(2)
	at := int64(1000e9)
	pass := func(w *nat.Worker, f *nic.Frame) netip.AddrPort {
		batch := nic.Batch{N: 1}
		batch.Frames[0] = *f
		at += 1e9
		w.Process(&batch, at)
		server := flow{}
		if len(w.Out()) == 1 {
			server = flowOf(t, w.Out()[0].Frame)
		}
		w.Commit()
		return server.dst
	}
	vip := netip.MustParseAddrPort("192.0.2.1:80")
	for i := range uint16(3) {
		client := netip.AddrPortFrom(netip.MustParseAddr("192.0.2.7"), 40000+i)
		chosen := pass(from, segment(1, client, vip, wire.SYN))
		pass(to, segment(2, chosen, client, wire.SYN|wire.ACK))
		pass(from, segment(1, client, vip, wire.ACK))
		pass(from, segment(1, client, vip, wire.ACK|wire.PSH))
	}
	pass(from, segment(1, netip.MustParseAddrPort("192.0.2.7:41000"), netip.MustParseAddrPort("192.0.2.1:5432"), wire.SYN))
	return d, at + 60e9
}

// TestExplainExamples holds docs/explain.md to what the director says.
func TestExplainExamples(t *testing.T) {
	d, now := newExample(t)
	examples.Hold(t, "../../../../docs/explain.md", *update, func(command string) (string, bool) {
		words, ok := strings.CutPrefix(command, "vsnat explain ")
		if !ok || strings.Contains(words, "-c ") {
			return "", false
		}
		var q control.Question
		var mark uint32
		f := pflag.NewFlagSet("explain", pflag.PanicOnError)
		f.StringSliceVar(&q.IfDown, "if-down", nil, "")
		f.StringSliceVar(&q.Flags, "flags", nil, "")
		f.Uint32Var(&mark, "mark", 0, "")
		_ = f.Parse(strings.Fields(words)) // it panics
		q.From, q.To = netip.MustParseAddrPort(f.Arg(0)), netip.MustParseAddrPort(f.Arg(1))
		q.Protocol = control.Protocol(f.Arg(2))
		if mark != 0 {
			q.FWMark = &mark
		}
		if err := q.Check(); err != nil {
			t.Fatal(err)
		}
		told, err := d.explain(q, now)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := explain.Write(&out, told); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(out.String()) {
			if len(strings.TrimRight(line, "\n")) > explain.Width {
				t.Errorf("%s: wider than %d: %q", command, explain.Width, line)
			}
		}
		return out.String(), true
	})
}

// TestExplainSays asks about what goes wrong, and about what is rare.
func TestExplainSays(t *testing.T) {
	web := `{"protocol":"tcp","address":"192.0.2.1","port":80}`
	edit := func(addr, rest string) string {
		return `{"op":"edit-server","service":` + web + `,"server":{"address":"` + addr + `","port":80,"method":"masq",` + rest + `}}`
	}
	none := []string{edit("10.0.0.11", `"weight":0`), edit("10.0.0.12", `"weight":0`)}
	only := func(addr, rest string) []string {
		return append([]string{`{"op":"add-server","service":` + web + `,"server":{"address":"` + addr + `","port":80,"weight":1,` + rest + `}}`}, none...)
	}
	here := func(d *daemon) { // the director would open its way to the host
		d.engine.Update(func(tx *nat.Tx) {
			key := nat.ServiceKey{Proto: nat.ProtoTCP, Addr: netip.MustParseAddr("192.0.2.1").As16(), Port: 80}
			if err := tx.AddServer(key, nat.ServerSpec{Key: nat.ServerKey{Addr: netip.MustParseAddr("10.0.0.1").As16(), Port: 80}, Weight: 1}); err != nil {
				t.Fatal(err)
			}
		})
	}
	udp := `{"op":"add-service","service":{"protocol":"udp","address":"192.0.2.1","port":53,"scheduler":"rr","flags":["one-packet"]}}`
	for _, c := range []struct {
		name  string
		setup []string
		do    func(d *daemon)
		q     control.Question
		want  []string
	}{
		{name: "no server", setup: none, want: []string{"None is picked.", "It is answered: ICMP port unreachable, from 192.0.2.1 to 192.0.2.9, by eth0."}},
		{name: "overloaded", setup: []string{edit("10.0.0.11", `"weight":1,"u_threshold":1`), edit("10.0.0.12", `"weight":2,"u_threshold":1`)}, want: []string{"refused: overloaded", "None is picked."}},
		{name: "down, fail-fast", setup: []string{
			`{"op":"set-life","service":{"protocol":"tcp","address":"192.0.2.1","port":80,"life":{"preset":"fail-fast"}}}`,
			`{"op":"server-down","service":` + web + `,"server":{"address":"10.0.0.12","port":80}}`,
		}, q: control.Question{From: netip.MustParseAddrPort("192.0.2.7:40000"), Flags: []string{"ack"}}, want: []string{
			"Its server is down, for which the service's policy says of this traffic (established): reset-both.", "ESTABLISHED becomes CLOSE", "It is answered: a reset, from 192.0.2.1:80", "So is the other side: a reset, from 192.0.2.7:40000 to 10.0.0.12:80",
		}},
		{name: "drop_packet", setup: []string{`{"op":"set","settings":{"drop_packet":3,"am_droprate":1}}`}, want: []string{"It is dropped: drop-packet"}},
		{name: "a local client", q: control.Question{From: netip.MustParseAddrPort("10.0.0.1:4000")}, want: []string{"It is dropped: martian-source"}},
		{name: "an unresolved neighbour", setup: only("10.0.0.14", `"method":"masq"`), want: []string{"10.0.0.14 is on the link of eth1", "the packet waits for it", "Its server answers: tcp 10.0.0.14:80 to 192.0.2.9:4000, SYN+ACK"}},
		{name: "a router", q: control.Question{From: netip.MustParseAddrPort("203.0.113.9:4000")}, want: []string{"the route to 203.0.113.9 leads through 192.0.2.254 on eth0"}},
		{name: "a tunnel", setup: only("10.0.0.15", `"method":"tunnel"`), want: []string{"by a tunnel", "outer destination       none       10.0.0.15", "that does not pass here"}},
		{name: "FullNAT", setup: only("10.0.0.15", `"method":"full"`), want: []string{"by FullNAT", "source                  192.0.2.9:4000  10.0.0.1:", "comes back, by eth1"}},
		{name: "masqueraded", setup: []string{`{"op":"set-masquerades","masquerades":[{"network":"10.0.0.0/24"}]}`}, q: control.Question{From: netip.MustParseAddrPort("10.0.0.55:5000"), To: netip.MustParseAddrPort("203.0.113.7:443")}, want: []string{"It is of a network that is masqueraded", "source                  10.0.0.55:5000   192.0.2.1:", "It is forwarded: the route to 203.0.113.7"}},
		{name: "one packet", setup: []string{udp, `{"op":"add-server","service":{"protocol":"udp","address":"192.0.2.1","port":53},"server":{"address":"10.0.0.11","port":53,"method":"masq","weight":1}}`}, q: control.Question{Protocol: control.UDP, To: netip.MustParseAddrPort("192.0.2.1:53")}, want: []string{"The connection is of this datagram alone", "is not translated"}},
		{name: "a mark", setup: []string{`{"op":"add-service","service":{"fwmark":7,"scheduler":"dh"}}`}, q: control.Question{To: netip.MustParseAddrPort("198.51.100.1:80"), FWMark: new(uint32(7))}, want: []string{"Service fwmark:7: the firewall mark is the service's.", "The service has no server.", ", firewall mark 7"}},
		{name: "a server here, without a way to the host", setup: none, do: here, want: []string{"It is dropped: server-is-local"}},
		{name: "a server here", setup: none, do: func(d *daemon) { here(d); d.engine.SetHostPort(9) }, want: []string{"It is given to this host's own stack, where the server 10.0.0.1 is.", "Its server answers: tcp 10.0.0.1:80 to 192.0.2.9:4000"}},
		{name: "bypass", setup: []string{`{"op":"add-service","service":{"fwmark":7,"scheduler":"dh"}}`, `{"op":"set","settings":{"cache_bypass":1}}`}, q: control.Question{To: netip.MustParseAddrPort("203.0.113.1:80"), FWMark: new(uint32(7))}, want: []string{"The service has no server.", "No server has it: it goes on to where it was sent (cache_bypass).", "the route to 203.0.113.1 leads through 192.0.2.254"}},
		{name: "SCTP", q: control.Question{Protocol: control.SCTP}, want: []string{"tcp:192.0.2.1:80 (other protocol)"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, now := newExample(t)
			var cmds []control.Command
			for _, text := range c.setup {
				var cmd control.Command
				if err := json.Unmarshal([]byte(text), &cmd); err != nil {
					t.Fatal(err)
				}
				cmds = append(cmds, cmd)
			}
			if refused := d.Apply(cmds, control.Atomic); len(refused) > 0 {
				t.Fatal(refused[0].Err)
			}
			if c.do != nil {
				c.do(d)
			}
			q := c.q
			if !q.From.IsValid() {
				q.From = netip.MustParseAddrPort("192.0.2.9:4000")
			}
			if !q.To.IsValid() {
				q.To = netip.MustParseAddrPort("192.0.2.1:80")
			}
			if err := q.Check(); err != nil {
				t.Fatal(err)
			}
			told, err := d.explain(q, now)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := explain.Write(&out, told); err != nil {
				t.Fatal(err)
			}
			text := strings.Join(strings.Fields(out.String()), " ")
			for _, want := range c.want {
				if !strings.Contains(text, strings.Join(strings.Fields(want), " ")) {
					t.Errorf("%q is not in\n%s", want, out.String())
				}
			}
			for line := range strings.Lines(out.String()) {
				if len(line) > explain.Width+1 || strings.Contains(line, "%!") || strings.Contains(line, "invalid") {
					t.Errorf("%q", line)
				}
			}
		})
	}
}
