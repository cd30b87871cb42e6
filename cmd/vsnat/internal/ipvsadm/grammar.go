package ipvsadm

// command is what a command line does.
type command uint8

const (
	cmdAdd command = iota
	cmdEdit
	cmdDelete
	cmdFlush
	cmdList
	cmdAddServer
	cmdDeleteServer
	cmdEditServer
	cmdTimeouts
	cmdStartDaemon
	cmdStopDaemon
	cmdRestore
	cmdSave
	cmdZero
	cmdHelp
	cmdVersion
)

// commandNames are what messages call the commands.
var commandNames = [...]string{
	cmdAdd:          "add-service",
	cmdEdit:         "edit-service",
	cmdDelete:       "delete-service",
	cmdFlush:        "flush",
	cmdList:         "list",
	cmdAddServer:    "add-server",
	cmdDeleteServer: "delete-server",
	cmdEditServer:   "edit-server",
	cmdTimeouts:     "set",
	cmdStartDaemon:  "start-daemon",
	cmdStopDaemon:   "stop-daemon",
	cmdRestore:      "restore",
	cmdSave:         "save",
	cmdZero:         "zero",
}

// opt is what may be given once with a command. Several options of the command
// line are one opt: -t, -u, --sctp-service and -f are optService. The order is
// that in which combinations are checked.
type opt uint8

const (
	optNumeric opt = iota
	optConnection
	optService
	optScheduler
	optPersistent
	optNetmask
	optServer
	optForward
	optWeight
	optUThreshold
	optLThreshold
	optMcast
	optTimeout
	optDaemon
	optStats
	optRate
	optThresholds
	optPersistentConn
	optNoSort
	optSyncID
	optExact
	optOnePacket
	optPE
	optSchedFlags
	optMcastGroup
	optMcastPort
	optMcastTTL
	optSyncMaxLen
	optTunInfo
	optTunType
	optTunPort
	optTunNoCsum
	optTunCsum
	optTunRemCsum
	optAtomic // vsnat's own, as the next
	optPool
	numOpts
)

// optNames are what messages call them.
var optNames = [numOpts]string{
	optNumeric:        "numeric",
	optConnection:     "connection",
	optService:        "service-address",
	optScheduler:      "scheduler",
	optPersistent:     "persistent",
	optNetmask:        "netmask",
	optServer:         "real-server",
	optForward:        "forwarding-method",
	optWeight:         "weight",
	optUThreshold:     "u-threshold",
	optLThreshold:     "l-threshold",
	optMcast:          "mcast-interface",
	optTimeout:        "timeout",
	optDaemon:         "daemon",
	optStats:          "stats",
	optRate:           "rate",
	optThresholds:     "thresholds",
	optPersistentConn: "persistent-conn",
	optNoSort:         "nosort",
	optSyncID:         "syncid",
	optExact:          "exact",
	optOnePacket:      "ops",
	optPE:             "pe",
	optSchedFlags:     "sched-flags",
	optMcastGroup:     "mcast-group",
	optMcastPort:      "mcast-port",
	optMcastTTL:       "mcast-ttl",
	optSyncMaxLen:     "sync-maxlen",
	optTunInfo:        "tun-info",
	optTunType:        "tun-type",
	optTunPort:        "tun-port",
	optTunNoCsum:      "tun-nocsum",
	optTunCsum:        "tun-csum",
	optTunRemCsum:     "tun-remcsum",
	optAtomic:         "atomic",
	optPool:           "pool",
}

// optSet is a set of opts.
type optSet uint64

func set(opts ...opt) optSet {
	s := optSet(0)
	for _, o := range opts {
		s |= 1 << o
	}
	return s
}

func (s optSet) has(o opt) bool       { return s&(1<<o) != 0 }
func (s optSet) hasAny(t optSet) bool { return s&t != 0 }

// rule is what may go together: every opt of must, any of may, at most one of
// one, and nothing else.
type rule struct{ must, may, one optSet }

var (
	serviceOpts = set(optScheduler, optPersistent, optNetmask, optOnePacket, optPE, optSchedFlags)
	tunnelOpts  = set(optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum)
	serverOpts  = set(optForward, optWeight, optUThreshold, optLThreshold, optPool) | tunnelOpts
)

// commandRules are the legal combinations of commands and options.
var commandRules = [...]rule{
	cmdAdd:          {must: set(optService), may: serviceOpts},
	cmdEdit:         {must: set(optService), may: serviceOpts},
	cmdDelete:       {must: set(optService)},
	cmdFlush:        {},
	cmdList:         {may: set(optNumeric, optStats, optRate, optThresholds, optPersistentConn, optNoSort, optSyncID, optExact, optTunInfo), one: set(optConnection, optService, optTimeout, optDaemon)},
	cmdAddServer:    {must: set(optService, optServer), may: serverOpts},
	cmdDeleteServer: {must: set(optService, optServer)},
	cmdEditServer:   {must: set(optService, optServer), may: serverOpts},
	cmdTimeouts:     {},
	cmdStartDaemon:  {may: set(optMcast, optSyncID, optMcastGroup, optMcastPort, optMcastTTL, optSyncMaxLen)},
	cmdStopDaemon:   {may: set(optSyncID)},
	cmdRestore:      {may: set(optAtomic)},
	cmdSave:         {may: set(optNumeric)},
	cmdZero:         {may: set(optService)},
}

// tunnelRules are the legal combinations of tunnel types and tunnel options.
var tunnelRules = map[string]rule{
	"ipip": {},
	"gue":  {must: set(optTunPort), one: set(optTunNoCsum, optTunCsum, optTunRemCsum)},
	"gre":  {one: set(optTunNoCsum, optTunCsum)},
}

// check finds the first of the opts from..numOpts that breaks the rule of what
// is called kind: "'add-service' command", "'gue' tunnel type".
func (r rule) check(given optSet, from opt, kind string) error {
	first := numOpts // of those of one that are given
	for o := from; o < numOpts; o++ {
		switch {
		case !given.has(o):
			if r.must.has(o) {
				return usage("You need to supply the '%s' option for the %s", optNames[o], kind)
			}
		case r.one.has(o) && first == numOpts:
			first = o
		case r.one.has(o):
			return usage("The option '%s' conflicts with the '%s' option in the %s", optNames[o], optNames[first], kind)
		case !r.must.has(o) && !r.may.has(o):
			return usage("Illegal '%s' option with the %s", optNames[o], kind)
		}
	}
	return nil
}

// tag names an option of the command line: its short letter where it has one.
type tag uint8

const (
	tagHelp    tag = 'h'
	tagVersion tag = 'v'
)

const (
	tagSet tag = 128 + iota
	tagStartDaemon
	tagStopDaemon
	tagSCTP
	tagMcastInterface
	tagSyncID
	tagTimeout
	tagDaemon
	tagStats
	tagRate
	tagThresholds
	tagPersistentConn
	tagNoSort
	tagSort
	tagAtomic
	tagPE
	tagMcastGroup
	tagMcastPort
	tagMcastTTL
	tagSyncMaxLen
	tagTunInfo
	tagTunType
	tagTunPort
	tagTunNoCsum
	tagTunCsum
	tagTunRemCsum
	tagFullNAT
	tagPool
)

// options are the options of ipvsadm.
var options = []option{
	{"add-service", 'A', noArg, 'A'},
	{"edit-service", 'E', noArg, 'E'},
	{"delete-service", 'D', noArg, 'D'},
	{"clear", 'C', noArg, 'C'},
	{"list", 'L', noArg, 'L'},
	{"list", 'l', noArg, 'L'},
	{"zero", 'Z', noArg, 'Z'},
	{"add-server", 'a', noArg, 'a'},
	{"edit-server", 'e', noArg, 'e'},
	{"delete-server", 'd', noArg, 'd'},
	{"set", 0, noArg, tagSet},
	{"help", 'h', noArg, tagHelp},
	{"version", 'v', noArg, tagVersion},
	{"restore", 'R', noArg, 'R'},
	{"save", 'S', noArg, 'S'},
	{"start-daemon", 0, needArg, tagStartDaemon},
	{"stop-daemon", 0, needArg, tagStopDaemon},

	{"tcp-service", 't', needArg, 't'},
	{"udp-service", 'u', needArg, 'u'},
	{"sctp-service", 0, needArg, tagSCTP},
	{"fwmark-service", 'f', needArg, 'f'},
	{"ipv6", '6', noArg, '6'},
	{"scheduler", 's', needArg, 's'},
	{"persistent", 'p', optArg, 'p'},
	{"netmask", 'M', needArg, 'M'},
	{"pe", 0, needArg, tagPE},
	{"ops", 'o', noArg, 'o'},
	{"sched-flags", 'b', needArg, 'b'},

	{"real-server", 'r', needArg, 'r'},
	{"masquerading", 'm', noArg, 'm'},
	{"ipip", 'i', noArg, 'i'},
	{"gatewaying", 'g', noArg, 'g'},
	{"full-nat", 0, noArg, tagFullNAT},
	{"pool", 0, needArg, tagPool},
	{"weight", 'w', needArg, 'w'},
	{"u-threshold", 'x', needArg, 'x'},
	{"l-threshold", 'y', needArg, 'y'},
	{"tun-type", 0, needArg, tagTunType},
	{"tun-port", 0, needArg, tagTunPort},
	{"tun-nocsum", 0, noArg, tagTunNoCsum},
	{"tun-csum", 0, noArg, tagTunCsum},
	{"tun-remcsum", 0, noArg, tagTunRemCsum},

	{"numeric", 'n', noArg, 'n'},
	{"connection", 'c', noArg, 'c'},
	{"timeout", 0, noArg, tagTimeout},
	{"daemon", 0, noArg, tagDaemon},
	{"stats", 0, noArg, tagStats},
	{"rate", 0, noArg, tagRate},
	{"exact", 'X', noArg, 'X'},
	{"thresholds", 0, noArg, tagThresholds},
	{"persistent-conn", 0, noArg, tagPersistentConn},
	{"tun-info", 0, noArg, tagTunInfo},
	{"nosort", 0, noArg, tagNoSort},
	{"sort", 0, noArg, tagSort},
	{"atomic", 0, noArg, tagAtomic},

	{"mcast-interface", 0, needArg, tagMcastInterface},
	{"mcast-group", 0, needArg, tagMcastGroup},
	{"mcast-port", 0, needArg, tagMcastPort},
	{"mcast-ttl", 0, needArg, tagMcastTTL},
	{"sync-maxlen", 0, needArg, tagSyncMaxLen},
	{"syncid", 0, needArg, tagSyncID},
}
