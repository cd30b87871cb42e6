package control

import (
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"vsnat/nat"
)

// Op is what a command does.
type Op string

// The operations, one for each command of ipvsadm that changes something.
const (
	AddService    Op = "add-service"
	EditService   Op = "edit-service"
	DeleteService Op = "delete-service"
	AddServer     Op = "add-server"
	EditServer    Op = "edit-server"
	DeleteServer  Op = "delete-server"
	Flush         Op = "flush"
	Zero          Op = "zero"
	SetTimeouts   Op = "set-timeouts"
	StartDaemon   Op = "start-daemon"
	StopDaemon    Op = "stop-daemon"
)

// The operations that ipvsadm does not know.
const (
	Set        Op = "set"
	AddMark    Op = "add-mark"
	DeleteMark Op = "delete-mark"
	SetMarks   Op = "set-marks"
	SetLife    Op = "set-life"
	ServerDown Op = "server-down"
	ServerUp   Op = "server-up"

	SetProxyProtocol Op = "set-proxy-protocol"
	AddPool          Op = "add-pool"
	DeletePool       Op = "delete-pool"
	SetPools         Op = "set-pools"
	AddMasquerade    Op = "add-masquerade"
	DeleteMasquerade Op = "delete-masquerade"
	SetMasquerades   Op = "set-masquerades"
	SetHelpers       Op = "set-helpers"
)

// Command is one change. What each operation needs, and nothing else may be set:
//
//	add-service, edit-service      Service
//	delete-service                 Service (its name)
//	add-server, edit-server        Service (its name), Server
//	delete-server                  Service (its name), Server (address and port)
//	flush                          -
//	zero                           Service (its name), or nothing for all
//	set-timeouts                   Timeouts
//	start-daemon, stop-daemon      Daemon
//	set                            Settings, by name
//	add-mark                       Marks, which go where At says
//	delete-mark                    Marks, each as it stands
//	set-marks                      Marks, which are all there are from then on
//	set-proxy-protocol             Service (its name and ProxyProtocol)
//	add-pool                       Pools, in place of those of the same names
//	delete-pool                    Pools (their names)
//	set-pools                      Pools, which are all there are from then on
//	add-masquerade                 Masquerades
//	delete-masquerade              Masquerades, each as it stands
//	set-masquerades                Masquerades, which are all there are from then on
//	set-helpers                    Helpers; those that are not named keep their ports
//	set-life                       Service (its name and Life)
//	server-down, server-up         Service (its name), Server (address and port)
//
// A Director is given only commands whose parts are there, whose enumerations
// are known and whose Family is set. Ranges and existence are its own to check.
type Command struct {
	Op       Op          `json:"op"`
	Service  *Service    `json:"service,omitempty"`
	Server   *RealServer `json:"server,omitempty"`
	Timeouts *Timeouts   `json:"timeouts,omitempty"`
	Daemon   *Daemon     `json:"daemon,omitempty"`

	Settings map[string]nat.Value `json:"settings,omitempty"`
	Marks    []MarkRule           `json:"marks,omitempty"`
	// At is the place in the list of rules that the first of Marks gets, counted
	// from 1; 0 is after all others.
	At int `json:"at,omitempty"`

	Pools       []Pool       `json:"pools,omitempty"`
	Masquerades []Masquerade `json:"masquerades,omitempty"`
	Helpers     []Helper     `json:"helpers,omitempty"`
}

// part is a set of a command's pointer fields.
type part uint16

const (
	partService part = 1 << iota
	partServer
	partTimeouts
	partDaemon
	partSettings
	partMarks
	partAt
	partPools
	partMasquerades
	partHelpers
)

// parts are what each operation must have; optional is what it may have.
var parts = map[Op]struct{ must, may part }{
	AddService:    {must: partService},
	EditService:   {must: partService},
	DeleteService: {must: partService},
	AddServer:     {must: partService | partServer},
	EditServer:    {must: partService | partServer},
	DeleteServer:  {must: partService | partServer},
	Flush:         {},
	Zero:          {may: partService},
	SetTimeouts:   {must: partTimeouts},
	StartDaemon:   {must: partDaemon},
	StopDaemon:    {must: partDaemon},
	Set:           {must: partSettings},
	AddMark:       {must: partMarks, may: partAt},
	DeleteMark:    {must: partMarks},
	SetMarks:      {may: partMarks},
	AddPool:       {must: partPools},
	DeletePool:    {must: partPools},
	SetPools:      {may: partPools},
	SetLife:       {must: partService},
	ServerDown:    {must: partService | partServer},
	ServerUp:      {must: partService | partServer},

	SetProxyProtocol: {must: partService},
	AddMasquerade:    {must: partMasquerades},
	DeleteMasquerade: {must: partMasquerades},
	SetMasquerades:   {may: partMasquerades},
	SetHelpers:       {must: partHelpers},
}

// malformed is what check finds wrong with a command's form.
func malformed(errno syscall.Errno, format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, errno)...)
}

// check reports the first thing wrong with the command's form and fills in
// the Family of its service, and the Netmask of one for IPv6.
func (c *Command) check() error {
	p, ok := parts[c.Op]
	if !ok {
		return malformed(syscall.EINVAL, "unknown op %q", c.Op)
	}
	for _, f := range []struct {
		bit  part
		name string
		set  bool
	}{
		{partService, "service", c.Service != nil},
		{partServer, "server", c.Server != nil},
		{partTimeouts, "timeouts", c.Timeouts != nil},
		{partDaemon, "daemon", c.Daemon != nil},
		{partSettings, "settings", len(c.Settings) > 0},
		{partMarks, "marks", len(c.Marks) > 0},
		{partAt, "at", c.At != 0},
		{partPools, "pools", len(c.Pools) > 0},
		{partMasquerades, "masquerades", len(c.Masquerades) > 0},
		{partHelpers, "helpers", len(c.Helpers) > 0},
	} {
		if p.must&f.bit != 0 && !f.set {
			return malformed(syscall.EINVAL, "%s needs %q", c.Op, f.name)
		}
		if (p.must|p.may)&f.bit == 0 && f.set {
			return malformed(syscall.EINVAL, "%s takes no %q", c.Op, f.name)
		}
	}
	if c.Service != nil {
		if err := c.Service.check(); err != nil {
			return err
		}
		// IPv6 has no granularity 0, so that it can stand for the usual one.
		if (c.Op == AddService || c.Op == EditService) && c.Service.Family == IPv6 && c.Service.Netmask == 0 {
			c.Service.Netmask = 128
		}
	}
	if c.Service != nil && !slices.Contains([]ProxyProtocol{"", ProxyOff, ProxyV2}, c.Service.ProxyProtocol) {
		return malformed(syscall.EINVAL, "PROXY protocol %q is neither v2 nor off", c.Service.ProxyProtocol)
	}
	if c.Server != nil {
		if err := c.Server.check(c.Op == AddServer || c.Op == EditServer); err != nil {
			return err
		}
	}
	for i := range c.Marks {
		if err := c.Marks[i].check(); err != nil {
			return err
		}
	}
	for i := range c.Pools {
		if err := c.Pools[i].check(c.Op == DeletePool); err != nil {
			return err
		}
	}
	for i := range c.Masquerades {
		if err := c.Masquerades[i].check(); err != nil {
			return err
		}
	}
	for i := range c.Helpers {
		if err := c.Helpers[i].check(); err != nil {
			return err
		}
	}
	if c.At < 0 {
		return malformed(syscall.EINVAL, "place %d: the first is 1", c.At)
	}
	if c.Daemon != nil && c.Daemon.Role != Master && c.Daemon.Role != Backup {
		return malformed(syscall.EINVAL, "daemon role %q is neither master nor backup", c.Daemon.Role)
	}
	return nil
}

// check reports a name that names nothing, and fills in its family.
func (id *ServiceID) check() error {
	if id.FWMark != 0 {
		if id.Protocol != "" || id.Address.IsValid() || id.Port != 0 {
			return malformed(syscall.EINVAL, "service has a firewall mark and a protocol, address or port: give one or the other")
		}
		if id.Family == "" {
			id.Family = IPv4
		}
		if id.Family != IPv4 && id.Family != IPv6 {
			return malformed(syscall.EAFNOSUPPORT, "unknown family %q", id.Family)
		}
		return nil
	}
	if id.Protocol.Number() == 0 {
		return malformed(syscall.EINVAL, "service protocol %q is none of tcp, udp, sctp", id.Protocol)
	}
	if err := checkAddress("service", id.Address); err != nil {
		return err
	}
	family := FamilyOf(id.Address)
	if id.Family != "" && id.Family != family {
		return malformed(syscall.EAFNOSUPPORT, "service family %q does not fit address %s", id.Family, id.Address)
	}
	id.Family = family
	return nil
}

// check reports an unknown enumeration. Of a server that is only named
// nothing but its address and port counts.
func (s *RealServer) check(full bool) error {
	if err := checkAddress("server", s.Address); err != nil {
		return err
	}
	if !full {
		return nil
	}
	if !slices.Contains([]Method{Masq, Local, Tunnel, Direct, Full}, s.Method) {
		return malformed(syscall.EINVAL, "server method %q is none of masq, local, tunnel, direct, full", s.Method)
	}
	if s.Pool != "" && s.Method != Full {
		return malformed(syscall.EINVAL, "server method %q takes no pool", s.Method)
	}
	if !slices.Contains([]TunnelType{"", IPIP, GUE, GRE}, s.TunnelType) {
		return malformed(syscall.EINVAL, "tunnel type %q is none of ipip, gue, gre", s.TunnelType)
	}
	if !slices.Contains([]TunnelChecksum{"", NoChecksum, Checksum, RemoteChecksum}, s.TunnelChecksum) {
		return malformed(syscall.EINVAL, "tunnel checksum %q is none of nocsum, csum, remcsum", s.TunnelChecksum)
	}
	return nil
}

// checkAddress refuses what the engine cannot tell apart: it keeps IPv4
// addresses IPv4-mapped, so a mapped address given as IPv6 would be another
// service of the same key. Zones have no meaning in a packet.
func checkAddress(what string, a netip.Addr) error {
	switch {
	case !a.IsValid():
		return malformed(syscall.EINVAL, "%s has no address", what)
	case a.Is4In6():
		return malformed(syscall.EINVAL, "%s address %s is IPv4-mapped: write it as IPv4", what, a)
	case a.Zone() != "":
		return malformed(syscall.EINVAL, "%s address %s has a zone", what, a)
	}
	return nil
}
