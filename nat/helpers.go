package nat

import (
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	"vsnat/conntrack"
	"vsnat/nat/alg"
	"vsnat/nat/alg/ftp"
	"vsnat/nat/alg/tftp"
	"vsnat/nic"
)

// helpers are those there are. A connection has the number of its own, which is
// its place here plus one. A new one is a line here.
var helpers = [...]alg.Helper{ftp.Helper{}, tftp.Helper{}}

// maxHelperPorts is how many ports a helper may have (IP_VS_APP_MAX_PORTS in
// net/netfilter/ipvs/ip_vs_ftp.c).
const maxHelperPorts = 8

// HelperSpec says to which virtual ports a helper is attached; without any it is
// off. A connection keeps the helper that it began with.
type HelperSpec struct {
	Name  string
	Ports []uint16 // host byte order
}

// HelperCounters are what a helper has done.
type HelperCounters struct {
	Expected uint64 // connections that it had expected
	Changed  uint64 // packets that it has changed
	Refused  uint64 // announcements that it did not believe, or that there was no room for
}

// HelperInfo is a helper as it stands.
type HelperInfo struct {
	HelperSpec
	Proto    uint8
	Counters HelperCounters
}

// helperTally counts for a helper; its events are rare.
type helperTally struct{ expected, changed, refused atomic.Uint64 }

// helperPorts are the ports that helpers are attached to.
type helperPorts struct {
	list []helperPort
	// told says that the guard is told of every connection that is expected.
	told bool
}

type helperPort struct {
	proto  uint8
	port   uint16
	number uint8
}

// of returns the number of the helper for connections to that virtual port, 0 for
// none.
func (h helperPorts) of(proto uint8, port uint16) uint8 {
	for i := range h.list {
		if h.list[i].port == port && h.list[i].proto == proto {
			return h.list[i].number
		}
	}
	return 0
}

// takesData reports whether clients of the service open connections to other
// ports, which the guard cannot tell from the host's: passive FTP's, by a helper's
// leave or because their client's template has them go to its server.
func (h helperPorts) takesData(spec *ServiceSpec) bool {
	if spec.Key.Mark != 0 {
		return false
	}
	if n := h.of(spec.Key.Proto, spec.Key.Port); !h.told && n != 0 && helpers[n-1].DataPorts() == alg.PassiveData {
		return true
	}
	return spec.Key.Proto == ProtoTCP && spec.Key.Port == ftpPort && spec.Persistent
}

// takesAnyServerPort reports whether servers of the service answer from other
// ports than their own.
func (h helperPorts) takesAnyServerPort(spec *ServiceSpec) bool {
	return h.of(spec.Key.Proto, spec.Key.Port) != 0 || h.takesData(spec)
}

// DefaultHelpers returns all helpers with their well-known ports.
func DefaultHelpers() []HelperSpec {
	list := make([]HelperSpec, len(helpers))
	for i, h := range helpers {
		list[i] = HelperSpec{h.Name(), h.Ports()}
	}
	return list
}

// portsOf checks the specs, in which a helper that is missing keeps its ports of
// now, and returns what they mean.
func portsOf(specs []HelperSpec, now helperPorts) (helperPorts, error) {
	const op = "set-helpers"
	all := helperPorts{slices.Clone(now.list), now.told}
	for _, spec := range specs {
		i := slices.IndexFunc(helpers[:], func(h alg.Helper) bool { return h.Name() == spec.Name })
		if i < 0 {
			return now, refuse(op, spec.Name, syscall.ENOENT, "there is no such helper")
		}
		if len(spec.Ports) > maxHelperPorts {
			return now, refuse(op, spec.Name, syscall.EINVAL, fmt.Sprintf("%d ports: at most %d are possible", len(spec.Ports), maxHelperPorts))
		}
		number := uint8(i + 1)
		all.list = slices.DeleteFunc(all.list, func(p helperPort) bool { return p.number == number })
		for _, port := range spec.Ports {
			proto := helpers[i].Proto()
			switch {
			case port < 2:
				return now, refuse(op, spec.Name, syscall.EINVAL, fmt.Sprintf("port %d: ports from 2 on are possible", port))
			case all.of(proto, port) != 0:
				return now, refuse(op, spec.Name, syscall.EEXIST, fmt.Sprintf("%s port %d has a helper", protoName(proto), port))
			}
			all.list = append(all.list, helperPort{proto, port, number})
		}
	}
	return all, nil
}

// CheckHelper reports what would be refused of a helper whatever ports the others
// have.
func CheckHelper(spec HelperSpec) error {
	_, err := portsOf([]HelperSpec{spec}, helperPorts{})
	return err
}

// SetHelpers changes the ports of the helpers named; the others keep theirs.
func (tx *Tx) SetHelpers(specs []HelperSpec) error {
	if tx.rehearsal != nil {
		all, err := portsOf(specs, tx.rehearsal.helpers)
		if err == nil {
			tx.rehearseHelpers(all)
		}
		return err
	}
	all, err := portsOf(specs, tx.e.helperPorts)
	if err == nil {
		tx.e.helperPorts, tx.e.dirty = all, true
	}
	return err
}

// Helpers returns the helpers as they stand.
func (tx *Tx) Helpers() []HelperInfo {
	ports := tx.e.helperPorts
	if tx.rehearsal != nil {
		ports = tx.rehearsal.helpers
	}
	list := make([]HelperInfo, len(helpers))
	for i, h := range helpers {
		n := &tx.e.helped[i]
		list[i] = HelperInfo{
			HelperSpec{Name: h.Name()},
			h.Proto(),
			HelperCounters{n.expected.Load(), n.changed.Load(), n.refused.Load()},
		}
		for _, p := range ports.list {
			if int(p.number) == i+1 {
				list[i].Ports = append(list[i].Ports, p.port)
			}
		}
	}
	return list
}

// TellFlows has the engine put every connection that helpers expect into a set
// that the guard looks into. Without it the guard must keep all unprivileged ports
// of a VIP with FTP from the host.
func (e *Engine) TellFlows(flows nic.Flows) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.flows.Store(&flows)
	e.helperPorts.told = true
	e.publish()
}

// tell has the guard keep the client's part of an expected connection from the
// host, or, if it is over, leave it again.
func (e *Engine) tell(c *conntrack.Conn, over bool) {
	f := e.flows.Load()
	switch {
	case f == nil || c.Proto != ProtoTCP:
	case over:
		f.Remove(&c.Client, &c.Virtual, c.VirtualPort)
	default:
		f.Add(&c.Client, &c.Virtual, c.VirtualPort)
	}
}
