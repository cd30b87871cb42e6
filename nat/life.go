package nat

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// The life of a server, as its service wants it: what becomes of those who use
// the server when it drains, is down or is removed. In the kernel's IPVS this is
// spread over expire_nodest_conn, expire_quiescent_template, conn_reuse_mode and
// what a controller does to weights; here it is one table of twelve cells.

// LifeEvent is what can befall a real server. A server is in one at most: being
// removed goes before being down, and that before draining.
type LifeEvent uint8

// The events. The zero value is none: the server is well.
const (
	_       LifeEvent = iota
	Drain             // its weight is 0
	Down              // it was marked down ([Tx.MarkServer]), whatever its weight
	Removed           // it, or its service, was deleted
)

// LifeEvents are all events.
var LifeEvents = [...]LifeEvent{Drain, Down, Removed}

// String returns the event's name, "" for none.
func (e LifeEvent) String() string { return [...]string{"", "drain", "down", "removed"}[e&3] }

// Traffic is a class of those who use a server.
type Traffic uint8

// The classes of traffic.
const (
	// Established are the packets of a TCP connection or SCTP association, in both
	// directions, but for its client's SYNs and INITs.
	Established Traffic = iota
	// NewTCP are SYNs, or INITs, on a connection's addresses and ports: repeated ones, and
	// those of a client that uses its port again. Other SYNs are no affair of a
	// server in trouble, as none is picked that is.
	NewTCP
	// UDPFlow are the datagrams of a UDP connection.
	UDPFlow
	// PersistentClient are new connections and flows of a client whose template
	// names the server.
	PersistentClient
	// TrafficClasses is how many classes there are.
	TrafficClasses
)

// String returns the class's name.
func (t Traffic) String() string {
	if t >= TrafficClasses {
		return "invalid"
	}
	return [...]string{"established", "new", "udp", "persistent"}[t]
}

// Action is what becomes of a class of traffic.
type Action uint8

// The actions; docs/life.md tells what each puts on the wire.
const (
	// AsKernel is what the kernel's IPVS does, under the net.ipv4.vs settings. For a
	// server that is down, which IPVS does not know, connections and flows are kept,
	// and new connections and persistent clients move.
	AsKernel Action = iota
	// Keep goes on as if nothing had happened.
	Keep
	// Move has a server picked anew.
	Move
	// ResetClient, ResetServer and ResetBoth end a TCP connection at one side or
	// both; for a new one, ResetClient refuses it.
	ResetClient
	ResetServer
	ResetBoth
	// Unreachable answers the client with port unreachable, once; what it sends
	// next is given to another server.
	Unreachable
	actions
)

var actionNames = [actions]string{"kernel", "keep", "move", "reset-client", "reset-server", "reset-both", "unreachable"}

// String returns the action's name.
func (a Action) String() string {
	if a >= actions {
		return "invalid"
	}
	return actionNames[a]
}

// ActionNames returns the names of all actions.
func ActionNames() []string { return slices.Clone(actionNames[:]) }

// ParseAction returns the action of that name.
func ParseAction(name string) (a Action, ok bool) {
	i := slices.Index(actionNames[:], name)
	return Action(max(i, 0)), i >= 0
}

func (a Action) resetsClient() bool { return a == ResetClient || a == ResetBoth }
func (a Action) resetsServer() bool { return a == ResetServer || a == ResetBoth }
func (a Action) resets() bool       { return a.resetsClient() || a.resetsServer() }

// Actions are one action for each class, by [Traffic].
type Actions [TrafficClasses]Action

// EventPolicy is what happens at one event: First, and if there is a Deadline,
// that long after the event Then. Where Then is AsKernel, it goes on as before.
type EventPolicy struct {
	First    Actions
	Deadline time.Duration
	Then     Actions
}

// LifePolicy is a service's policy for the life of its servers. The zero value
// is the preset kernel.
type LifePolicy struct{ Drain, Down, Removed EventPolicy }

// Of returns what the policy says of an event.
func (p *LifePolicy) Of(e LifeEvent) *EventPolicy {
	switch e {
	case Drain:
		return &p.Drain
	case Down:
		return &p.Down
	}
	return &p.Removed
}

// downAsKernel is what AsKernel stands for when a server is down.
var downAsKernel = Actions{Established: Keep, NewTCP: Move, UDPFlow: Keep, PersistentClient: Move}

// effective returns the actions before and after the deadline with nothing left
// to be worked out. AsKernel is left where the kernel and its settings decide.
func (p *EventPolicy) effective(e LifeEvent) (first, then Actions) {
	for t := range TrafficClasses {
		if first[t] = p.First[t]; first[t] == AsKernel && e == Down {
			first[t] = downAsKernel[t]
		}
		if then[t] = p.Then[t]; then[t] == AsKernel {
			then[t] = first[t]
		}
	}
	return first, then
}

// maxDeadline is the longest deadline.
const maxDeadline = 365 * 24 * time.Hour

// Check returns an error that says what is wrong with the policy for a service,
// and why. It begins with the event's name.
func (p *LifePolicy) Check(k ServiceKey) error {
	for _, e := range LifeEvents {
		if err := p.Of(e).check(e, k); err != nil {
			return err
		}
	}
	return nil
}

func (p *EventPolicy) check(e LifeEvent, k ServiceKey) error {
	if p.Deadline < 0 || p.Deadline > maxDeadline {
		return fmt.Errorf("%s: a deadline is 0 (none) to 365 days, not %s", e, p.Deadline)
	}
	first, _ := p.effective(e)
	ends := false
	for t := range TrafficClasses {
		then := p.Then[t]
		for _, a := range []Action{p.First[t], then} {
			if err := allowed(e, t, a, k); err != nil {
				return fmt.Errorf("%s, %s: %s: %w", e, t, a, err)
			}
		}
		if then == AsKernel {
			continue
		}
		ends = true
		switch {
		case then == Keep:
			return fmt.Errorf("%s, %s: at a deadline something ends: keep needs none", e, t)
		case first[t] != AsKernel && first[t] != Keep:
			return fmt.Errorf("%s, %s: nothing is left for %s at the deadline after %s from the start", e, t, then, first[t])
		case p.Deadline == 0:
			return fmt.Errorf("%s, %s: %s follows at a deadline, and there is none", e, t, then)
		}
	}
	if p.Deadline > 0 && !ends {
		return fmt.Errorf("%s: there is a deadline, and nothing happens then", e)
	}
	return nil
}

// allowed says why the action makes no sense there; nil if it does.
func allowed(e LifeEvent, t Traffic, a Action, k ServiceKey) error {
	switch {
	case a >= actions:
		return errors.New("there is no such action")
	case t == Established && a == Move:
		return errors.New("no other server knows an established connection: reset it")
	case t == Established && a == Unreachable:
		return errors.New("TCP does not end an established connection for an ICMP error (RFC 5461): reset it")
	case t == UDPFlow && a.resets():
		return errors.New("UDP knows no reset: answer unreachable")
	case t == PersistentClient && a == ResetClient && k.Mark == 0 && k.Proto == ProtoUDP:
		return errors.New("UDP knows no reset: answer unreachable")
	case (t == NewTCP || t == PersistentClient) && a.resetsServer():
		return errors.New("the server has nothing of a new connection to reset: reset the client")
	case (t == NewTCP || t == PersistentClient) && a == Keep && e != Drain:
		return errors.New("a server that is down or removed gets no new connections")
	}
	return nil
}
