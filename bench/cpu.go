package bench

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// allowedCPUs returns the CPUs that this process may run on.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("bench: CPUs of this process: %w", err)
	}
	var list []int
	for i := 0; len(list) < set.Count(); i++ {
		if set.IsSet(i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// pin holds all threads of a process to some CPUs; 0 is this process, and no
// CPUs leave it as it is. Threads inherit from the one that makes them, so a
// second look finds those that were made meanwhile.
func pin(pid int, cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	dir := "/proc/self/task"
	if pid != 0 {
		dir = "/proc/" + strconv.Itoa(pid) + "/task"
	}
	for range 2 {
		tasks, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("bench: threads to pin: %w", err)
		}
		for _, t := range tasks {
			tid, err := strconv.Atoi(t.Name())
			if err == nil {
				err = unix.SchedSetaffinity(tid, &set)
			}
			if err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("bench: pin thread %s to CPUs %v: %w", t.Name(), cpus, err)
			}
		}
	}
	return nil
}

// cpuTime returns the CPU time of a process in nanoseconds, all threads taken
// together, as the scheduler counts it: what the kernel does in its interrupts
// while it runs is in it, unless the kernel accounts interrupts apart
// (CONFIG_IRQ_TIME_ACCOUNTING).
func cpuTime(pid int) (int64, error) {
	// The clock of another process: its number inverted, and the kind
	// CPUCLOCK_SCHED (include/linux/posix-timers_types.h).
	const cpuclockSched = 2
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuclockSched), &t); err != nil {
		return 0, fmt.Errorf("bench: CPU time of process %d: %w", pid, err)
	}
	return t.Nano(), nil
}

// softirqThreads returns the kernel's threads that take over when interrupts'
// work does not end: ksoftirqd, one a CPU.
func softirqThreads() (pids []int) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm") // the pattern is right
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err == nil && strings.HasPrefix(string(b), "ksoftirqd/") {
			pid, _ := strconv.Atoi(strings.Split(name, "/")[2])
			pids = append(pids, pid)
		}
	}
	return pids
}

// Ticks is what the machine's CPUs did, all of them together, in seconds: the
// first line of /proc/stat. The kernel counts it by its tick.
type Ticks struct {
	User    float64 `json:"user"` // nice included
	System  float64 `json:"system"`
	Idle    float64 `json:"idle"` // I/O wait included
	IRQ     float64 `json:"irq"`
	SoftIRQ float64 `json:"softirq"`
	Steal   float64 `json:"steal"` // the hypervisor let others run
}

// ticks returns the time since the machine started.
func ticks() (t Ticks, err error) {
	f, err := os.Open("/proc/stat")
	if err != nil {
		return t, fmt.Errorf("bench: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Scan()
	fields := strings.Fields(lines.Text())
	if len(fields) < 9 || fields[0] != "cpu" {
		return t, fmt.Errorf("bench: /proc/stat begins with %q", lines.Text())
	}
	const hz = 100 // USER_HZ, the unit of /proc
	at := func(i int) float64 {
		n, _ := strconv.ParseUint(fields[i], 10, 64) // the kernel writes numbers
		return float64(n) / hz
	}
	return Ticks{User: at(1) + at(2), System: at(3), Idle: at(4) + at(5), IRQ: at(6), SoftIRQ: at(7), Steal: at(8)}, nil
}

func (t Ticks) minus(o Ticks) Ticks {
	return Ticks{t.User - o.User, t.System - o.System, t.Idle - o.Idle, t.IRQ - o.IRQ, t.SoftIRQ - o.SoftIRQ, t.Steal - o.Steal}
}

func (t Ticks) plus(o Ticks) Ticks {
	return t.minus(Ticks{}.minus(o))
}

// busy returns the seconds in which a CPU did something.
func (t Ticks) busy() float64 { return t.User + t.System + t.IRQ + t.SoftIRQ }

// all returns the seconds of all CPUs.
func (t Ticks) all() float64 { return t.busy() + t.Idle + t.Steal }
