package e2e

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/daemon"
)

// director is `vsnat run` in the director's namespace.
type director struct {
	s    *site
	cmd  *lab.Cmd
	log  string
	done chan struct{} // closed when it has ended
}

// direct starts the director and waits until it says that it is ready, the way
// service managers are told. At the end of the test it must leave in good order
// with its ledger balanced, unless the test has ended it before.
func (s *site) direct(args ...string) *director {
	t := s.t
	t.Helper()
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(s.Dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer os.Remove(filepath.Join(s.Dir, "notify"))
	defer notify.Close()
	log, err := os.CreateTemp(s.Dir, "director-*.log")
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()

	d := &director{s: s, log: log.Name(), done: make(chan struct{})}
	// The test's context ends before its cleanup, in which the director shall
	// still run; the cluster kills it at the latest.
	d.cmd = s.Host("director").Command(context.Background(), bin("vsnat"), append([]string{"run"}, args...)...)
	d.cmd.Env = append(append(os.Environ(), s.Env("director")...), "NOTIFY_SOCKET="+filepath.Join(s.Dir, "notify"))
	d.cmd.Stdout, d.cmd.Stderr = log, log
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = d.cmd.Wait() // what became of it is in ProcessState
		close(d.done)
		_ = notify.SetReadDeadline(time.Now())
	}()
	t.Cleanup(d.finish)

	_ = notify.SetReadDeadline(time.Now().Add(patience))
	buf := make([]byte, 64)
	n, err := notify.Read(buf)
	if err != nil || string(buf[:n]) != "READY=1" {
		t.Fatalf("vsnat run: not ready: %q, %v", buf[:n], err)
	}
	return d
}

// running reports whether the director has not ended.
func (d *director) running() bool {
	select {
	case <-d.done:
		return false
	default:
		return true
	}
}

// signal sends a signal and waits until the director has ended.
func (d *director) signal(sig syscall.Signal) *os.ProcessState {
	d.s.t.Helper()
	if err := d.cmd.Process.Signal(sig); err != nil {
		d.s.t.Fatalf("vsnat run: %v: %v", sig, err)
	}
	select {
	case <-d.done:
	case <-time.After(patience):
		d.s.t.Fatalf("vsnat run has not ended %v after %v", patience, sig)
	}
	return d.cmd.ProcessState
}

// finish holds a director that still runs to the law of the ledger and to
// leaving in good order.
func (d *director) finish() {
	t := d.s.t
	t.Helper()
	defer func() {
		if t.Failed() {
			out, err := os.ReadFile(d.log)
			t.Logf("the director's output:\n%s%v", tail(string(out), 8000), errOrNothing(err))
		}
	}()
	if d.cmd.ProcessState != nil || !d.running() {
		return // the test has ended it and looked at how
	}
	d.checkLedger()
	d.leave()
}

// leave ends the director with SIGTERM and checks that nothing is left of it.
func (d *director) leave() {
	t := d.s.t
	t.Helper()
	if state := d.signal(syscall.SIGTERM); state.ExitCode() != 0 {
		t.Errorf("vsnat run after SIGTERM: %v", state)
	}
	for _, name := range []string{d.s.Socket(), d.s.Socket() + ".lock"} {
		if _, err := os.Lstat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is left behind: %v", filepath.Base(name), err)
		}
	}
}

// checkLedger checks that every frame of every NIC is accounted for.
func (d *director) checkLedger() {
	t := d.s.t
	t.Helper()
	drops := report[daemon.Drops](d.s, "drops")
	nics := 0
	for _, l := range d.s.Topology().Links {
		if l.A.Host == "director" || l.B.Host == "director" {
			nics++
		}
	}
	if len(drops.NICs) < nics {
		t.Errorf("vsnat drops knows %d NICs, want the director's %d", len(drops.NICs), nics)
	}
	for _, n := range drops.NICs {
		sum := n.Forwarded + n.Replied + n.Passed + n.Held
		for _, c := range n.Dropped {
			sum += c
		}
		if sum != n.Received || !n.Balanced {
			t.Errorf("%s: the ledger does not balance: %d frames received, %d accounted for: %+v", n.Name, n.Received, sum, n)
		}
	}
}

// ledger returns what became of the frames of a NIC so far.
func (d *director) ledger(nic string) daemon.NICDrops {
	d.s.t.Helper()
	for _, n := range report[daemon.Drops](d.s, "drops").NICs {
		if n.Name == nic {
			return n
		}
	}
	d.s.t.Fatalf("vsnat drops does not know %s", nic)
	return daemon.NICDrops{}
}

// nic returns a NIC's counters.
func (d *director) nic(name string) daemon.NIC {
	d.s.t.Helper()
	for _, n := range report[daemon.Status](d.s, "status").NICs {
		if n.Name == name {
			return n
		}
	}
	d.s.t.Fatalf("vsnat status does not know %s", name)
	return daemon.NIC{}
}

// tail returns the end of a text.
func tail(s string, most int) string {
	s = strings.TrimSpace(s)
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

func errOrNothing(err error) string {
	if err == nil {
		return ""
	}
	return " (" + err.Error() + ")"
}
