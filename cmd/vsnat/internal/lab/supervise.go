package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/bench/lab"
)

// supervisor holds a lab.
type supervisor struct {
	lab     *lab.Lab
	state   State // as it was when the lab came up
	outside *os.File

	mu       sync.Mutex
	commands map[int]bool // guarded by mu; processes of exec that nobody has waited for yet
}

// supervise is the hidden verb that `up` and `run` start. It returns when the
// lab is gone.
func supervise() error {
	lock, report := os.NewFile(lockFD, "lock"), os.NewFile(reportFD, "report")
	for _, f := range []*os.File{lock, report} {
		if _, err := unix.FcntlInt(f.Fd(), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
			return fmt.Errorf("lab: `vsnat lab up` starts supervisors: descriptor %s: %w", f.Name(), err)
		}
	}
	defer lock.Close()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	s, listener, err := setUp(ctx, stop)
	var r reply
	if err != nil {
		r.Error = err.Error()
	}
	if err := errors.Join(json.NewEncoder(report).Encode(r), report.Close()); err != nil || r.Error != "" {
		return err // the starter is gone, or knows the reason now
	}

	go s.reapOrphans(ctx)
	go s.serve(listener)
	<-ctx.Done()
	// Commands that still run are killed with the cluster.
	err = errors.Join(listener.Close(), s.lab.Close())
	return errors.Join(err, os.RemoveAll(s.lab.Dir))
}

// setUp reads the orders and brings the lab up. end is called when the lifeline
// is cut, be it during the start.
func setUp(ctx context.Context, end func()) (*supervisor, net.Listener, error) {
	var o orders
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return nil, nil, fmt.Errorf("lab: the supervisor got no orders: %w", err)
	}
	if o.Lifeline {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // returns when it ends
			end()
		}()
	}
	s := &supervisor{commands: make(map[int]bool)}
	var err error
	if s.outside, err = ownProc(); err != nil {
		return nil, nil, err
	}
	if s.lab, err = lab.Start(ctx, o.Options); err != nil {
		return nil, nil, err
	}
	listener, err := s.announce(o)
	if err != nil {
		return nil, nil, errors.Join(err, s.lab.Close())
	}
	return s, listener, nil
}

// announce opens the supervisor's socket and writes the state.
func (s *supervisor) announce(o orders) (net.Listener, error) {
	listener, err := net.Listen("unix", filepath.Join(s.lab.Dir, socketFile))
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	s.state = State{
		Name:          o.Options.Topology.Name,
		Since:         time.Now(),
		UserNamespace: o.UserNamespace,
		Topology:      o.Options.Topology,
	}
	s.state.Supervisor, err = s.outsidePID(os.Getpid())
	if err == nil {
		s.state.Start, err = startTime(os.Getpid())
	}
	for _, p := range s.lab.Processes {
		var pid int
		if err == nil {
			pid, err = s.outsidePID(p.PID)
		}
		s.state.Processes = append(s.state.Processes, Process{
			What: p.What, Host: p.Host, PID: pid, Since: p.Started, State: p.State(), Log: p.Log,
		})
	}
	if err == nil {
		err = s.state.save(s.lab.Dir)
	}
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

// ownProc mounts the /proc of this PID namespace, so that ps and kill in the
// hosts see the lab's processes by the numbers they have there. It returns the
// /proc of the namespace outside.
func ownProc() (*os.File, error) {
	outside, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lab: cannot mount /proc for the lab's processes; a container that hides parts of its own forbids it: %w", err), outside.Close())
	}
	return outside, nil
}

// outsidePID returns the number that a process has in the PID namespace from
// which the lab was started: what the /proc of that namespace says of a
// descriptor for it (pidfd_open(2)).
func (s *supervisor) outsidePID(pid int) (int, error) {
	fail := func(err error) (int, error) { return 0, fmt.Errorf("lab: process %d: %w", pid, err) }
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	info, err := unix.Openat(int(s.outside.Fd()), "thread-self/fdinfo/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	f := os.NewFile(uintptr(info), "fdinfo")
	b, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); err != nil {
		return fail(err)
	}
	for line := range strings.Lines(string(b)) {
		if n, ok := strings.CutPrefix(line, "Pid:"); ok {
			return strconv.Atoi(strings.TrimSpace(n))
		}
	}
	return fail(errors.New("its number outside is not told"))
}

// reapOrphans waits for processes that others have left to this one: it is
// process 1 of its PID namespace.
func (s *supervisor) reapOrphans(ctx context.Context) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	for {
		select {
		case <-children:
			s.reap()
		case <-ctx.Done():
			return
		}
	}
}

// reap waits for every dead child that no other part of the program waits for.
func (s *supervisor) reap() {
	// No exec can start in the meantime, so each of our own is known.
	s.mu.Lock()
	defer s.mu.Unlock()
	own := make(map[int]bool)
	for _, p := range s.lab.Processes {
		own[p.PID] = true
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return // the next one that dies gives another chance
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || own[pid] || s.commands[pid] {
			continue
		}
		b, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // gone
		}
		if _, rest, ok := cutLast(string(b), ") "); ok && strings.HasPrefix(rest, "Z 1 ") {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // it is dead: nothing to learn
		}
	}
}
