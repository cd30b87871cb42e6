package ipvsadm

import (
	"math"
	"net/netip"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// Sizes of names in the kernel's structures, without the final zero; longer
// ones are cut.
const (
	maxScheduler  = 15
	maxPE         = 16
	maxInterface  = 15
	maxSchedFlags = 127
)

const (
	defaultScheduler = "wlc"
	defaultInterface = "eth0"
)

// request is a command line that was read.
type request struct {
	cmd        command
	opts       optSet
	format     format
	service    control.Service
	server     control.RealServer
	timeouts   control.Timeouts
	daemon     control.Daemon
	schedFlags string // argument of -b, read when the scheduler is known
}

// firstOptions are the options a command line may begin with.
var firstOptions = map[tag]command{
	'A': cmdAdd, 'E': cmdEdit, 'D': cmdDelete, 'C': cmdFlush,
	'a': cmdAddServer, 'e': cmdEditServer, 'd': cmdDeleteServer,
	'L': cmdList, 'Z': cmdZero, 'R': cmdRestore, 'S': cmdSave,
	tagSet: cmdTimeouts, tagStartDaemon: cmdStartDaemon, tagStopDaemon: cmdStopDaemon,
	tagHelp: cmdHelp, tagVersion: cmdVersion,
}

// parse reads a command line in its order: an option's meaning may depend on
// those before it. It returns a [*scanError] for an option that is none.
func (a *app) parse(args []string) (*request, error) {
	s := newScanner(options, args)
	o, arg, err := s.scan()
	if err != nil || o == nil {
		return nil, a.tryHelp()
	}
	cmd, ok := firstOptions[o.tag]
	if !ok {
		return nil, a.tryHelp()
	}
	r := &request{
		cmd:     cmd,
		service: control.Service{Netmask: control.FullMask},
		server:  control.RealServer{Method: control.Direct, Weight: 1, TunnelType: control.IPIP, TunnelChecksum: control.NoChecksum},
	}
	switch cmd {
	case cmdHelp, cmdVersion:
		return r, nil
	case cmdStartDaemon, cmdStopDaemon:
		if r.daemon.Role = control.Role(*arg); r.daemon.Role != control.Master && r.daemon.Role != control.Backup {
			if cmd == cmdStartDaemon {
				return nil, usage("illegal start-daemon parameter specified")
			}
			return nil, usage("illegal start_daemon specified")
		}
	}
	for {
		o, arg, err := s.scan()
		if err != nil {
			return nil, err
		}
		if o == nil {
			break
		}
		if which, ok := onceOf[o.tag]; ok {
			if r.opts.has(which) {
				return nil, usage("multiple '%s' options specified", optNames[which])
			}
			r.opts |= set(which)
		}
		if err := a.option(r, s, o.tag, arg); err != nil {
			return nil, err
		}
	}
	if err := r.words(s.words); err != nil {
		return nil, err
	}
	if r.schedFlags != "" {
		sched := r.service.Scheduler
		if sched == "" {
			sched = defaultScheduler
		}
		flags, err := parseSchedFlags(r.schedFlags, sched)
		if err != nil {
			return nil, err
		}
		r.service.Flags |= flags
	}
	return r, nil
}

// words takes what is no option: the timeouts of --set.
func (r *request) words(words []string) error {
	if r.cmd == cmdTimeouts {
		if len(words) < 3 {
			return usage("--set option requires 3 timeout values")
		}
		for i, t := range []*uint32{&r.timeouts.TCP, &r.timeouts.TCPFin, &r.timeouts.UDP} {
			var err error
			if *t, err = parseTimeout(words[i], 0); err != nil {
				return err
			}
		}
		words = words[3:]
	}
	if len(words) > 0 {
		return usage("unexpected argument %s", words[0])
	}
	return nil
}

// onceOf maps the options that may be given once to what they count as.
var onceOf = map[tag]opt{
	't': optService, 'u': optService, tagSCTP: optService, 'f': optService,
	's': optScheduler, 'p': optPersistent, 'M': optNetmask, tagPE: optPE, 'o': optOnePacket, 'b': optSchedFlags,
	'r': optServer, 'm': optForward, 'i': optForward, 'g': optForward, tagFullNAT: optForward, tagPool: optPool,
	'w': optWeight, 'x': optUThreshold, 'y': optLThreshold,
	tagTunType: optTunType, tagTunPort: optTunPort, tagTunNoCsum: optTunNoCsum, tagTunCsum: optTunCsum, tagTunRemCsum: optTunRemCsum,
	'n': optNumeric, 'c': optConnection, tagTimeout: optTimeout, tagDaemon: optDaemon,
	tagStats: optStats, tagRate: optRate, 'X': optExact, tagThresholds: optThresholds,
	tagPersistentConn: optPersistentConn, tagTunInfo: optTunInfo, tagNoSort: optNoSort,
	tagMcastInterface: optMcast, tagMcastGroup: optMcastGroup, tagMcastPort: optMcastPort, tagMcastTTL: optMcastTTL,
	tagSyncMaxLen: optSyncMaxLen, tagSyncID: optSyncID,
	tagAtomic: optAtomic,
}

// formats are the options that only choose what a listing shows.
var formats = map[tag]format{
	'n': formatNumeric, 'X': formatExact, tagStats: formatStats, tagRate: formatRate, tagThresholds: formatThresholds,
	tagPersistentConn: formatPersistentConn, tagTunInfo: formatTunInfo, tagNoSort: formatNoSort,
}

// option takes one option after the command. arg is set for those that need
// one.
func (a *app) option(r *request, s *scanner, t tag, arg *string) error {
	if f, ok := formats[t]; ok {
		r.format |= f
		return nil
	}
	switch t {
	case 't', 'u', tagSCTP, 'f', '6', 's', 'p', 'M', 'o', 'b', tagPE:
		return a.serviceOption(&r.service, &r.schedFlags, t, arg)
	case 'r', 'm', 'i', 'g', tagFullNAT, tagPool, 'w', 'x', 'y', tagTunType, tagTunPort, tagTunNoCsum, tagTunCsum, tagTunRemCsum:
		return a.serverOption(&r.server, &r.service, t, arg)
	case tagMcastInterface, tagMcastGroup, tagMcastPort, tagMcastTTL, tagSyncMaxLen, tagSyncID:
		return daemonOption(&r.daemon, t, *arg)
	case 'c', tagTimeout, tagDaemon, tagSort, tagAtomic:
		return nil // known by r.opts; sorting is the default
	}
	return usage("invalid option `%s'", s.word()) // a second command
}

// serviceOption takes an option about the virtual service.
func (a *app) serviceOption(svc *control.Service, schedFlags *string, t tag, arg *string) (err error) {
	switch t {
	case 't', 'u', tagSCTP:
		svc.Protocol = map[tag]control.Protocol{'t': control.TCP, 'u': control.UDP, tagSCTP: control.SCTP}[t]
		e, ok := a.parseEndpoint(*arg, svc.Protocol)
		if !ok {
			return usage("illegal virtual server address[:port] specified")
		}
		svc.Address, svc.Port, svc.Family = e.addr, e.port, control.FamilyOf(e.addr)
		if svc.Family == control.IPv6 {
			svc.Netmask = 128
		}
	case 'f':
		svc.Family = control.IPv4
		svc.FWMark, err = parseMark(*arg)
	case '6':
		if svc.FWMark == 0 {
			return usage("-6 used before -f\n")
		}
		svc.Family, svc.Netmask = control.IPv6, 128
	case 's':
		svc.Scheduler = cut(*arg, maxScheduler)
	case 'p':
		svc.Flags |= control.Persistent
		svc.Timeout = defaultPersistence
		if arg != nil {
			svc.Timeout, err = parseTimeout(*arg, 1)
		}
	case 'M':
		svc.Netmask, err = a.parseNetmask(*arg, svc.Family)
	case 'o':
		svc.Flags |= control.OnePacket
	case 'b':
		*schedFlags = cut(*arg, maxSchedFlags)
	case tagPE:
		svc.PE = cut(*arg, maxPE)
	}
	return err
}

// serverOption takes an option about the real server. svc is the service as
// far as it is known.
func (a *app) serverOption(srv *control.RealServer, svc *control.Service, t tag, arg *string) error {
	limited := func(max int64, what string) (int64, error) {
		n, ok := number(*arg, 0, max)
		if !ok {
			return 0, usage("illegal %s specified", what)
		}
		return n, nil
	}
	var n int64
	var err error
	switch t {
	case 'r':
		proto := svc.Protocol
		if svc.FWMark != 0 {
			proto = control.TCP // for names of ports
		}
		e, ok := a.parseEndpoint(*arg, proto)
		if !ok {
			return usage("illegal real server address[:port] specified")
		}
		srv.Address, srv.Port = e.addr, e.port
		if !e.hasPort {
			srv.Port = svc.Port
		}
	case 'm':
		srv.Method = control.Masq
	case 'i':
		srv.Method = control.Tunnel
	case 'g':
		srv.Method = control.Direct
	case tagFullNAT:
		srv.Method = control.Full
	case tagPool:
		srv.Pool = *arg
	case 'w':
		n, err = limited(math.MaxInt32, "weight")
		srv.Weight = int32(n)
	case 'x':
		n, err = limited(math.MaxInt32, "u_threshold")
		srv.UThreshold = uint32(n)
	case 'y':
		n, err = limited(math.MaxInt32, "l_threshold")
		srv.LThreshold = uint32(n)
	case tagTunType:
		if _, ok := tunnelRules[*arg]; !ok {
			return usage("illegal tunnel type specified")
		}
		srv.TunnelType = control.TunnelType(*arg)
	case tagTunPort:
		n, ok := number(*arg, 1, 65535)
		if !ok {
			return usage("illegal tunnel port specified")
		}
		srv.TunnelPort = uint16(n)
	case tagTunNoCsum:
		srv.TunnelChecksum = control.NoChecksum
	case tagTunCsum:
		srv.TunnelChecksum = control.Checksum
	case tagTunRemCsum:
		srv.TunnelChecksum = control.RemoteChecksum
	}
	return err
}

// daemonOption takes an option about a synchronisation daemon.
func daemonOption(d *control.Daemon, t tag, arg string) error {
	limited := func(min, max int64, what string) (int64, error) {
		n, ok := number(arg, min, max)
		if !ok {
			return 0, usage("illegal %s specified", what)
		}
		return n, nil
	}
	var n int64
	var err error
	switch t {
	case tagMcastInterface:
		d.Interface = cut(arg, maxInterface)
	case tagMcastGroup:
		d.Group, err = parseGroup(arg)
	case tagMcastPort:
		n, err = limited(1, 65535, "mcast-port")
		d.Port = uint16(n)
	case tagMcastTTL:
		n, err = limited(1, 255, "mcast-ttl")
		d.TTL = uint8(n)
	case tagSyncMaxLen:
		n, err = limited(1, 65535-20-8, "sync-maxlen")
		d.MaxLen = uint16(n)
	case tagSyncID:
		n, err = limited(0, 255, "syncid")
		d.SyncID = uint8(n)
	}
	return err
}

// parseGroup reads a multicast address.
func parseGroup(s string) (netip.Addr, error) {
	family := "IPv4"
	if strings.Contains(s, ":") {
		family = "IPv6"
	}
	g, err := netip.ParseAddr(s)
	if err != nil || !g.IsMulticast() || g.Is4In6() || g.Zone() != "" {
		return netip.Addr{}, usage("invalid %s mcast-group `%s'", family, s)
	}
	return g, nil
}

// complete checks what goes together and fills in the defaults that depend on
// several options.
func (r *request) complete() error {
	if r.cmd == cmdHelp || r.cmd == cmdVersion {
		return nil
	}
	if err := commandRules[r.cmd].check(r.opts, 0, "'"+commandNames[r.cmd]+"' command"); err != nil {
		return err
	}
	svc := &r.service
	switch r.cmd {
	case cmdAdd, cmdEdit:
		if svc.FWMark == 0 && svc.Port == 0 && svc.Flags&control.Persistent == 0 {
			return usage("Zero port specified for non-persistent service")
		}
		if svc.Flags&control.OnePacket != 0 && svc.FWMark == 0 && svc.Protocol != control.UDP {
			return usage("One-Packet Scheduling is only for UDP virtual services")
		}
		if svc.Scheduler == "" {
			svc.Scheduler = defaultScheduler
		}
	case cmdAddServer, cmdEditServer:
		return r.completeServer()
	case cmdStartDaemon:
		if r.daemon.Interface == "" {
			r.daemon.Interface = defaultInterface
		}
	case cmdList:
		tables := r.opts.hasAny(set(optConnection, optTimeout, optDaemon))
		if tables && r.opts.hasAny(set(optStats, optRate, optThresholds)) ||
			r.opts.hasAny(set(optTimeout, optDaemon)) && r.opts.has(optPersistentConn) {
			return usage("options conflicts in the list command")
		}
	}
	return nil
}

// completeServer is complete for -a and -e.
func (r *request) completeServer() error {
	full := r.server.Method == control.Full
	if r.opts.has(optPool) && !full {
		return usage("The pool is for servers of the method --full-nat")
	}
	// Only masquerading can change the port. A mark's service has none.
	if r.service.FWMark == 0 && r.server.Method != control.Masq && !full {
		r.server.Port = r.service.Port
	}
	if r.server.Method == control.Tunnel {
		kind := string(r.server.TunnelType)
		return tunnelRules[kind].check(r.opts&tunnelOpts&^set(optTunType), optTunPort, "'"+kind+"' tunnel type")
	}
	if control.FamilyOf(r.server.Address) != r.service.Family {
		return usage("Different address family is allowed only for tunneling servers")
	}
	if r.opts.hasAny(tunnelOpts) {
		return usage("Tunnel options conflict with forward method")
	}
	return nil
}

// ops are the changes that commands are.
var ops = map[command]control.Op{
	cmdAdd: control.AddService, cmdEdit: control.EditService, cmdDelete: control.DeleteService,
	cmdAddServer: control.AddServer, cmdEditServer: control.EditServer, cmdDeleteServer: control.DeleteServer,
	cmdFlush: control.Flush, cmdZero: control.Zero, cmdTimeouts: control.SetTimeouts,
	cmdStartDaemon: control.StartDaemon, cmdStopDaemon: control.StopDaemon,
}

// command returns the request as the director takes it. Only of an
// add or edit does it have more than names.
func (r *request) command() control.Command {
	c := control.Command{Op: ops[r.cmd]}
	name := &control.Service{ServiceID: r.service.ServiceID}
	switch r.cmd {
	case cmdAdd, cmdEdit:
		c.Service = &r.service
	case cmdDelete:
		c.Service = name
	case cmdAddServer, cmdEditServer:
		c.Service, c.Server = name, &r.server
	case cmdDeleteServer:
		c.Service, c.Server = name, &control.RealServer{Address: r.server.Address, Port: r.server.Port}
	case cmdZero:
		// The kernel takes a service of address and port 0 for all services.
		if name.FWMark != 0 || name.Port != 0 || name.Address.IsValid() && !name.Address.IsUnspecified() {
			c.Service = name
		}
	case cmdTimeouts:
		c.Timeouts = &r.timeouts
	case cmdStartDaemon, cmdStopDaemon:
		c.Daemon = &r.daemon
	}
	return c
}
