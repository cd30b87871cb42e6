package control

// Director is what the server asks. Errors it returns wrap the errno that the
// kernel gives for the same request ([syscall.Errno]).
//
// Its methods are called from several goroutines at once, but for Apply, of
// which one call runs at a time. None may block for long.
type Director interface {
	// Apply runs commands that are well-formed as [Command] says, in order, and
	// returns those that were refused. What they change takes effect at once.
	Apply(cmds []Command, mode Mode) []Refusal
	// Settings returns all settings.
	Settings() []Setting
	// Marks returns the mark rules in order.
	Marks() []MarkRule
	// Pools returns the pools of ports, and Masquerades the networks that are
	// masqueraded, in order.
	Pools() []Pool
	Masquerades() []Masquerade
	// Helpers returns the helpers, with what they have done.
	Helpers() []HelperEntry
	// Services returns all services in the director's own order.
	Services() []ServiceEntry
	// Service returns one, or ESRCH.
	Service(id ServiceID) (ServiceEntry, error)
	// Connections copies entries of the connection table into buf, from where
	// cursor says, and returns how many and the cursor to go on with. A walk
	// begins with cursor 0 and is over when next is 0; n may be 0 before that.
	// Entries that come or go meanwhile may be missed or seen. The caller
	// writes buf to a peer that may be slow: it does so between calls, so the
	// director must hold no lock from one call to the next.
	Connections(cursor uint64, buf []Connection) (n int, next uint64)
	// Timeouts returns the timeouts in force.
	Timeouts() Timeouts
	// Daemons returns the synchronisation daemons that run, the master first.
	Daemons() []Daemon
	// Info says who answers.
	Info() Info
	// Report returns a value that JSON can hold; its shape is the director's.
	Report(name Report) (any, error)
}

// Mode says what becomes of a list of commands of which one is refused.
type Mode string

// The modes.
const (
	// Stop leaves what comes after the first that is refused.
	Stop Mode = "stop"
	// GoOn goes on with the next.
	GoOn Mode = "go-on"
	// Atomic carries out all or nothing.
	Atomic Mode = "atomic"
)

// Refusal is a command that was refused.
type Refusal struct {
	Index int // in the list
	Err   error
}

// Report names one of the director's reports.
type Report string

// The reports, each at /v1/NAME.
const (
	StatusReport  Report = "status"
	DropsReport   Report = "drops"
	LatencyReport Report = "latency"
)
