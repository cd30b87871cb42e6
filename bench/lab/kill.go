package lab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// killPatience is how long a killed process may take to be gone. Only one that
// hangs in the kernel takes longer than milliseconds.
const killPatience = 5 * time.Second

// killAll kills every process whose network namespace is that of one of the
// hosts, whoever its parent is, and waits until all are gone.
func killAll(hosts []*Host) error {
	inside := make(map[string]bool)
	for _, h := range hosts {
		inside[h.Namespace()] = true
	}
	for deadline := time.Now().Add(killPatience); ; {
		pids, err := processesIn(inside)
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lab: processes %v do not die", pids)
		}
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("lab: cannot kill process %d: %w", pid, err)
			}
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// processesIn returns the processes whose first thread is in one of the
// namespaces, but never this one. A zombie is in none any more.
func processesIn(namespaces map[string]bool) ([]int, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	names, err := proc.Readdirnames(-1)
	if err := errors.Join(err, proc.Close()); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	var pids []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || name == self {
			continue
		}
		// A process that is gone, or another user's, cannot be read: not ours.
		ns, err := os.Readlink("/proc/" + name + "/ns/net")
		if err == nil && namespaces[ns] {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}
