package sched

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// None is the name that stands for "no scheduler": New gives one that never
// finds a server.
const None = "none"

// Options are what a scheduler may need at construction. The zero value is the
// kernel's default in every field.
type Options struct {
	// Seed starts the random numbers of twos: equal seeds, equal picks.
	Seed uint64
	// MHTableSize is the number of slots of mh: 251, 509, 1021, 2039, 4093 (the
	// default), 8191, 16381, 32749, 65521 or 131071. Directors that shall agree
	// need the same.
	MHTableSize int
	// HalfLife is the age at which a measurement counts half of a new one with
	// lrt: 1 ms to 24 h, 10 s by default.
	HalfLife time.Duration
	// CacheExpiration is the age at which lblc forgets an unused entry and lblcr
	// also shrinks an unchanged set (sysctl lblc_expiration, lblcr_expiration).
	// The default is 24 hours.
	CacheExpiration time.Duration
}

// builders holds the constructor of each scheduler. It is filled by the init
// functions of this package and only read afterwards.
var builders = map[string]func(Options) Scheduler{}

func register(name string, build func(Options) Scheduler) { builders[name] = build }

// UnknownError says that there is no scheduler of that name: ENOENT to a caller
// that speaks the kernel's language.
type UnknownError struct{ Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("sched: no scheduler %q; choose one of %s", e.Name, strings.Join(Names(), ", "))
}

// New returns a scheduler of that name with default options. The error, if any,
// is an *UnknownError. The scheduler picks only after its Init.
func New(name string) (Scheduler, error) { return NewWith(name, Options{}) }

// NewWith is New with options. An unknown name is an *UnknownError; any other
// error names the option that is wrong.
func NewWith(name string, o Options) (Scheduler, error) {
	if name == None {
		return none{}, nil
	}
	build, ok := builders[name]
	if !ok {
		return nil, &UnknownError{Name: name}
	}
	if o.MHTableSize == 0 {
		o.MHTableSize = DefaultMHTableSize
	}
	if !slices.Contains(mhSizes[:], o.MHTableSize) {
		return nil, fmt.Errorf("sched: mh table of %d slots; choose one of %v", o.MHTableSize, mhSizes)
	}
	if o.HalfLife == 0 {
		o.HalfLife = DefaultHalfLife
	}
	if o.HalfLife < lrtMinHalfLife || o.HalfLife > lrtMaxHalfLife {
		return nil, fmt.Errorf("sched: lrt half-life of %v; choose one of %v to %v", o.HalfLife, lrtMinHalfLife, lrtMaxHalfLife)
	}
	if o.CacheExpiration == 0 {
		o.CacheExpiration = defaultExpiration
	}
	if o.CacheExpiration < 0 {
		return nil, fmt.Errorf("sched: cache expiration %v is negative", o.CacheExpiration)
	}
	return build(o), nil
}

// Names returns the names of all schedulers, sorted; None is not among them.
func Names() []string {
	names := make([]string, 0, len(builders))
	for name := range builders {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// none is the absence of a scheduler.
type none struct{ stateless }

func (none) Pick([]*Server, *Request) *Server { return nil }

func (n none) Clone(func(*Server) *Server) Scheduler { return n }

func (none) Explain(list []*Server, _ *Request) Account {
	return account(list, "the service has no scheduler: no server is ever picked", "", func(*Server) (float64, bool) { return 0, false })
}

// stateless is embedded by schedulers that look only at the list.
type stateless struct{}

// Init does nothing.
func (stateless) Init([]*Server) {}

// Changed does nothing.
func (stateless) Changed(Op, *Server, int, []*Server) {}
