package conformance

import (
	"fmt"
	"slices"
	"time"

	"vsnat/conntrack"
	"vsnat/conntrack/state"
	"vsnat/conntrack/wheel"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// engineSettle is how far ahead [director.settle] looks for timers that are due:
// two ticks of the engine's timer wheel, which starts a timer with the next one.
const engineSettle = 2 * wheel.Tick

// engine is vsnat's engine as a director: one worker for each NIC, and a host
// beside it that answers what the engine leaves to it.
type engine struct {
	e       *nat.Engine
	workers [2]*nat.Worker // by side
	now     int64
	batch   nic.Batch
}

// NewEngine returns vsnat's engine as an oracle.
func NewEngine() (Oracle, error) {
	d, err := newEngine(1)
	if err != nil {
		return nil, err
	}
	return newPlayer(d), nil
}

// newEngine returns an engine whose random scheduler draws from seed.
func newEngine(seed uint64) (*engine, error) {
	e, err := nat.New(nat.Options{Conns: conntrack.Config{Max: 1 << 17, Shards: 4, Seed: seed}, Guarded: true})
	if err != nil {
		return nil, fmt.Errorf("conformance: %w", err)
	}
	e.SetRoutes(host{})
	e.Update(func(tx *nat.Tx) {
		tx.ChangeTimeouts(func(t *state.Timeouts) { t.Set(tcpTimeout*1e9, tcpFinTimeout*1e9, udpTimeout*1e9) })
		err = tx.SetMarkRules([]nat.MarkRule{
			{Selector: nat.Selector{Dst: markedVIPs}, Mark: mark},
			{Selector: nat.Selector{Dst: outside}, Mark: mark},
			{Selector: nat.Selector{Dst: sixNet(markedVIPs)}, Mark: mark},
		})
	})
	d := &engine{e: e}
	for s := range d.workers {
		d.workers[s] = e.NewWorker(hop(side(s)).Index)
	}
	return d, err
}

// engineStart keeps the engine's clock off 0.
const engineStart = int64(time.Hour)

func (d *engine) begin(at time.Duration) {
	d.now = engineStart + int64(at)
	d.expire(d.now)
	d.e.Tick(d.now)
}

func (d *engine) settle() { d.expire(d.now + engineSettle) }

func (d *engine) expire(now int64) {
	const burst = 1 << 12
	for d.e.Expire(now, burst) == burst {
	}
}

func (d *engine) close() error { return nil }

func (d *engine) command(s *Step) (err error) {
	d.e.Update(func(tx *nat.Tx) {
		switch s.Op {
		case Flush:
			tx.Flush()
		case Zero:
			err = tx.Zero(nil)
		case Set:
			err = set(tx, s.Setting, s.Value)
		default:
			err = command(tx, s)
		}
	})
	return err
}

func set(tx *nat.Tx, name string, value int) error {
	all := nat.SettingList()
	i := slices.IndexFunc(all, func(v nat.Setting) bool { return v.Name == name })
	if i < 0 {
		return fmt.Errorf("conformance: the engine has no setting %q", name)
	}
	settings := tx.Settings()
	if err := all[i].Set(&settings, nat.Value(value)); err != nil {
		return err
	}
	return tx.SetSettings(settings)
}

func (d *engine) send(from side, ip []byte) (all []departed, err error) {
	f := nic.Frame{Buf: make([]byte, nic.VNetHdrLen+wire.EthernetLen+len(ip)), Type: nic.ToHost}
	f.WireLen = len(f.Eth())
	eth := wire.Ethernet(f.Eth())
	eth.SetType(wire.IP(ip).EtherType())
	copy(eth.Payload(), ip)
	d.batch.N, d.batch.Frames[0] = 1, f

	w := d.workers[from]
	w.Process(&d.batch, d.now)
	for _, o := range w.Out() {
		to := clients
		if o.Port == hop(servers).Index {
			to = servers
		}
		all = append(all, departed{to, slices.Clone(wire.Ethernet(o.Frame.Eth()).Payload())})
	}
	if v := w.Verdict(0); v.Kind == nat.Pass {
		all = append(all, leftToHost(from, ip)...)
	}
	w.Commit()
	return all, nil
}

func (d *engine) servers(k nat.ServiceKey) (list []nat.ServerInfo, _ error) {
	d.e.Update(func(tx *nat.Tx) {
		if info, err := tx.Service(k); err == nil { // no such service has no servers
			list = info.Servers
		}
	})
	return list, nil
}

func (d *engine) services() (all []nat.ServiceInfo, _ error) {
	d.e.Update(func(tx *nat.Tx) { all = tx.Services() })
	return all, nil
}

func (d *engine) conns() (all []Conn, _ error) {
	d.e.Table().Range(func(there *conntrack.Conn) bool {
		c := d.e.Table().Copy(there)
		proto := "IP"
		switch c.Proto {
		case nat.ProtoTCP:
			proto = "TCP"
		case nat.ProtoUDP:
			proto = "UDP"
		case nat.ProtoSCTP:
			proto = "SCTP"
		}
		all = append(all, Conn{
			Proto: proto, Client: nat.AddrPort(c.Client, c.ClientPort), Virtual: nat.AddrPort(c.Virtual, c.VirtualPort),
			Dest: nat.AddrPort(c.Dest, c.DestPort), State: c.StateName(), Expires: int((c.Expires - d.now) / 1e9),
		})
		return true
	})
	return all, nil
}
