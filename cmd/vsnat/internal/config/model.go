package config

import (
	"net/netip"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// Config is a configuration that was read and checked.
type Config struct {
	Director  Director
	Drift     Drift
	Timeouts  control.Timeouts     // 0 is the default
	Settings  map[string]nat.Value // those that are named
	Marks     []control.MarkRule
	Pools     []control.Pool
	Inside    []control.Masquerade // networks that are masqueraded
	Helpers   []control.Helper     // those that are named
	Addresses []Address
	Services  []Service // in the order of the file
}

// Director is what the director is started with. It takes a new start to change
// any of it. Zero values are the defaults of vsnat run.
type Director struct {
	NICs        []string       // to take packets from; none is all
	Guard       string         // auto, tcx, nft or off
	MaxConns    int            // bound on connections
	Threads     int            // that serve the NICs
	Queues      int            // of each NIC
	Spin        *time.Duration // how long a thread looks for more packets before it sleeps, at most
	Merge       bool           // consecutive segments of a flow are sent as one frame
	Budget      time.Duration  // what a packet may take, for the latency report
	Socket      string         // path of the control socket
	SocketGroup string         // whose members may use it too
}

// MaxThreads bounds the threads that serve the NICs, and the queues of each.
const MaxThreads = 256

// Drift is what a reload does about what others than the file have changed.
type Drift string

// The ways.
const (
	// KeepDrift leaves it, where the file has not changed in the same place.
	KeepDrift Drift = "keep"
	// UndoDrift makes everything as the file says.
	UndoDrift Drift = "undo"
)

// Address is an address that vsnat puts on a NIC while it runs.
type Address struct {
	Prefix   netip.Prefix // the address, and the length of its network
	NIC      string
	Announce int // how many times its link is told of it, a second apart
}

// Service is what is wanted of one or several virtual services with the same
// servers: one for each address and port that it listens at.
type Service struct {
	Name string // in the file
	// Virtual are the services, complete.
	Virtual []Virtual
}

// Virtual is one virtual service.
type Virtual struct {
	control.Service
	// Servers in the order of the file, in which they are added.
	Servers []control.RealServer
	Latency bool // how long its packets take is recorded by itself
}

// Virtuals returns all virtual services in the order of the file.
func (c *Config) Virtuals() []Virtual {
	var all []Virtual
	for i := range c.Services {
		all = append(all, c.Services[i].Virtual...)
	}
	return all
}

// The defaults of a configuration, where they are not zero.
const (
	DefaultScheduler   = "wlc"
	DefaultWeight      = 1
	DefaultPersistence = 360 // seconds
	DefaultMaxConns    = 1 << 20
	DefaultBudget      = 100 * time.Microsecond
	DefaultGuard       = "auto"
	DefaultAnnounce    = 3
)

// The bounds of what a file may say.
const (
	maxTimeout   = 31 * 24 * time.Hour // of templates and connections
	maxThreshold = 1<<31 - 1
	maxWeight    = 1<<31 - 1
	maxConns     = 1 << 30
	maxAnnounce  = 100
)
