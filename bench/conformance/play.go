package conformance

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nat"
)

// Oracle is a director that steps are done to.
type Oracle interface {
	// Do does one step and tells what came of it. at is the time since the run
	// began, and never goes back; a rest has passed by then. The time that the
	// kernel goes by is the real one, whatever at is.
	Do(s *Step, at time.Duration) (Seen, error)
	// Close gives up what the oracle holds.
	Close() error
}

// side is one of the director's two NICs.
type side int

const (
	clients side = iota
	servers
)

func (s side) String() string { return [...]string{"clients", "servers"}[s] }

// departed is an IP packet that left the director.
type departed struct {
	side side
	ip   []byte
}

// director is what both sides have in common.
type director interface {
	begin(at time.Duration)
	// command executes a step that is neither a packet nor a rest.
	command(s *Step) error
	// send has a packet arrive and returns those that leave for it.
	send(from side, ip []byte) ([]departed, error)
	// settle waits until timers that are due now have fired.
	settle()
	servers(k nat.ServiceKey) ([]nat.ServerInfo, error)
	services() ([]nat.ServiceInfo, error)
	conns() ([]Conn, error)
	close() error
}

// player does steps to a director. It remembers where connections went, as
// their servers' packets come from there.
type player struct {
	d     director
	reals map[flow]netip.AddrPort // the server that a flow's last packet went to
}

func newPlayer(d director) *player { return &player{d: d, reals: map[flow]netip.AddrPort{}} }

// Close implements [Oracle].
func (p *player) Close() error { return p.d.close() }

// Do implements [Oracle].
func (p *player) Do(s *Step, at time.Duration) (Seen, error) {
	seen := Seen{At: at}
	p.d.begin(at)
	var err error
	switch s.Op {
	case FromClient, FromServer:
		err = p.packet(s, &seen)
	case Rest:
	default:
		seen.Refused, err = errno(p.d.command(s))
	}
	if err != nil {
		return seen, err
	}
	if s.Settle {
		p.d.settle()
	}
	if s.Service.Key != (nat.ServiceKey{}) {
		list, err := p.d.servers(s.Service.Key)
		if err != nil {
			return seen, err
		}
		for i := range list {
			seen.Servers = append(seen.Servers, listing(&list[i], false))
		}
	}
	if s.Look {
		seen.All, err = p.look(s.Op == Rest)
	}
	return seen, err
}

// errno returns the name of the errno that a command was refused with. Another
// error is returned as it is.
func errno(err error) (string, error) {
	var no syscall.Errno
	if errors.As(err, &no) {
		return unix.ErrnoName(no), nil
	}
	return "", err
}

func (p *player) packet(s *Step, seen *Seen) error {
	from, src, dst := clients, s.Packet.Client, s.Packet.Virtual
	f := s.Packet.flow()
	if s.Op == FromServer {
		real, known := p.reals[f]
		if s.Packet.From.IsValid() {
			real, known = s.Packet.From, true
		}
		if !known || real == s.Packet.Virtual {
			// By direct routing a server answers clients itself.
			seen.Idle = true
			return nil
		}
		from, src, dst = servers, real, s.Packet.Client
	}
	out, err := p.d.send(from, build(&s.Packet, src, dst))
	if err != nil {
		return err
	}
	for _, d := range out {
		if q, ok := parse(d.ip); ok && d.side == from && s.unanswered(&q) {
			continue
		}
		if from == clients && d.side == servers {
			if real, ok := destination(d.ip); ok {
				p.reals[f], seen.Real = real, real
			}
		}
		seen.Out = append(seen.Out, words(d, from))
	}
	return nil
}

func (p *player) look(counters bool) (*State, error) {
	infos, err := p.d.services()
	if err != nil {
		return nil, err
	}
	all := &State{}
	for i := range infos {
		svc := Service{Key: serviceWords(&infos[i].ServiceSpec)}
		if counters {
			svc.Counters = infos[i].Counters
		}
		list, err := p.d.servers(infos[i].Key)
		if err != nil {
			return nil, err
		}
		for j := range list {
			svc.Servers = append(svc.Servers, listing(&list[j], counters))
		}
		all.Services = append(all.Services, svc)
	}
	if all.Conns, err = p.d.conns(); err != nil {
		return nil, err
	}
	all.sort()
	return all, nil
}

// table is how both sides take commands.
type table interface {
	AddService(nat.ServiceSpec) error
	EditService(nat.ServiceSpec) error
	DeleteService(nat.ServiceKey) error
	AddServer(nat.ServiceKey, nat.ServerSpec) error
	EditServer(nat.ServiceKey, nat.ServerSpec) error
	DeleteServer(nat.ServiceKey, nat.ServerKey) error
}

func command(t table, s *Step) error {
	switch s.Op {
	case AddService:
		return t.AddService(s.Service)
	case EditService:
		return t.EditService(s.Service)
	case DeleteService:
		return t.DeleteService(s.Service.Key)
	case AddServer:
		return t.AddServer(s.Service.Key, s.Server)
	case EditServer:
		return t.EditServer(s.Service.Key, s.Server)
	case DeleteServer:
		return t.DeleteServer(s.Service.Key, s.Server.Key)
	}
	return fmt.Errorf("conformance: a step %q is no command", s.Op)
}
