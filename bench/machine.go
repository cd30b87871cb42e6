package bench

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

func cpus() int { return runtime.NumCPU() }

// kernel returns the running kernel's release.
func kernel() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Machine is what a measurement was made on, and how far it was disturbed.
type Machine struct {
	Kernel string    `json:"kernel"`
	CPUs   int       `json:"cpus"`
	Model  string    `json:"cpu_model"`
	Memory int       `json:"memory_bytes"`
	Go     string    `json:"go"`
	Load   string    `json:"load_before"` // /proc/loadavg
	Start  time.Time `json:"start"`
	// Of the whole run.
	Ticks Ticks `json:"cpu_seconds"`
	// Others is the CPU time that went to processes which are no part of the
	// measurement, in seconds; an estimate, as the kernel counts by its tick.
	Others float64 `json:"other_processes_cpu_seconds"`
	// Gaps are what a spinning thread on each CPU saw, between the rounds.
	Gaps []Gap `json:"scheduling_gaps"`
	// Offloads of the NICs that were used, as ethtool -k names them.
	Offloads map[string]string `json:"offloads,omitempty"`
}

// machine describes this machine as it is before a measurement.
func machine() Machine {
	m := Machine{Kernel: kernel(), CPUs: cpus(), Go: runtime.Version(), Start: time.Now()}
	if b, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
				m.Model = strings.TrimSpace(value)
				break
			}
		}
	}
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err == nil {
		m.Memory = int(info.Totalram) * int(info.Unit)
	}
	return m
}

// during does the work of a measurement, one part after the other, and tells how
// far the machine was disturbed.
func (m *Machine) during(parts ...func() error) error {
	before, err := ticks()
	if err != nil {
		return err
	}
	own, err := cpuTime(0)
	if err != nil {
		return err
	}
	cpus, err := allowedCPUs()
	if err != nil {
		return err
	}
	for _, part := range parts {
		g, err := gaps(cpus)
		if err != nil {
			return err
		}
		m.Gaps = append(m.Gaps, g...)
		if err := part(); err != nil {
			return err
		}
	}
	after, err := ticks()
	if err != nil {
		return err
	}
	ownAfter, err := cpuTime(0)
	if err != nil {
		return err
	}
	m.Ticks = after.minus(before)
	m.Others = max(0, m.Ticks.busy()-float64(ownAfter-own)/1e9)
	return nil
}

// Gap is what one spinning thread saw: how long it was not run although it
// wanted to. On a machine of one's own there are none but interrupts.
type Gap struct {
	CPU     int     `json:"cpu"`
	Spun    int64   `json:"spun_ns"`
	Longest int64   `json:"longest_ns"`
	Lost    float64 `json:"lost"` // share of the time that was in gaps
}

const (
	// gapFrom is the shortest time between two looks at the clock that counts
	// as a gap.
	gapFrom = 10 * time.Microsecond
	// gapProbe is how long a probe spins.
	gapProbe = 60 * time.Millisecond
)

// gaps spins on each of the CPUs, on all at once.
func gaps(cpus []int) ([]Gap, error) {
	found := make([]Gap, len(cpus))
	errs := make([]error, len(cpus))
	var wg sync.WaitGroup
	for i, cpu := range cpus {
		wg.Go(func() {
			if errs[i] = hold(cpu); errs[i] == nil {
				found[i] = spin(cpu)
			}
		})
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return nil, fmt.Errorf("bench: scheduling gaps of CPU %d: %w", cpus[i], err)
		}
	}
	return found, nil
}

// hold gives the goroutine a thread of its own, which ends with it, on that CPU.
func hold(cpu int) error {
	runtime.LockOSThread()
	var set unix.CPUSet
	set.Set(cpu)
	return os.NewSyscallError("sched_setaffinity", unix.SchedSetaffinity(0, &set))
}

func spin(cpu int) Gap {
	g := Gap{CPU: cpu}
	var lost time.Duration
	begin := time.Now()
	last := begin
	for last.Sub(begin) < gapProbe {
		now := time.Now()
		if d := now.Sub(last); d >= gapFrom {
			lost += d
			g.Longest = max(g.Longest, d.Nanoseconds())
		}
		last = now
	}
	g.Spun = last.Sub(begin).Nanoseconds()
	g.Lost = float64(lost.Nanoseconds()) / float64(g.Spun)
	return g
}

// write prints the machine in a few lines.
func (m *Machine) write(p *printer) {
	p.line("Linux %s, %d CPUs (%s), %.1f GB of memory, %s", m.Kernel, m.CPUs, m.Model, float64(m.Memory)/1e9, m.Go)
	all := max(m.Ticks.all(), 1e-9)
	p.line("load before %s; in the run: steal %.1f %% of all CPU time, other processes about %.1f %%, idle %.1f %%",
		m.Load, 100*m.Ticks.Steal/all, 100*m.Others/all, 100*m.Ticks.Idle/all)
	var longest int64
	var lost, spun float64
	for _, g := range m.Gaps {
		longest = max(longest, g.Longest)
		lost += g.Lost * float64(g.Spun)
		spun += float64(g.Spun)
	}
	if spun > 0 {
		p.line("a spinning thread was kept waiting for %.2f %% of the time between rounds, at most %.1f ms at once", 100*lost/spun, ms(longest))
	}
}
