package daemon

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/plan"
	"vsnat/nat"
)

const (
	oneServer  = "[service.web]\nlisten = \"192.0.2.1:8080\"\nserver = \"10.0.2.21\"\n"
	twoServers = "[settings]\nsloppy_tcp = 1\n[service.web]\nlisten = \"192.0.2.1:8080\"\nserver = [\"10.0.2.21\", \"10.0.2.22\"]\n"
)

// declaring is a daemon without services that follows a file.
type declaring struct {
	*daemon
	t *testing.T
}

func newDeclaring(t *testing.T, text string) *declaring {
	d, _, _ := newDaemon(t)
	d.apply(t, &control.Command{Op: control.Flush})
	d.cfg.File = filepath.Join(t.TempDir(), "vsnat.toml")
	dd := &declaring{d, t}
	dd.write(text)
	cfg, _, err := config.Load(d.cfg.File)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.declare(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.leaveDeclared()
		d.addresses.Close()
	})
	return dd
}

func (d *declaring) write(text string) {
	d.t.Helper()
	if err := os.WriteFile(d.cfg.File, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// servers returns the service's servers and their weights, oldest first; "" if
// there is no service.
func (d *declaring) servers() string {
	var all []string
	for _, s := range d.Services() {
		for _, r := range s.Servers {
			all = append([]string{r.Address.String() + "=" + string(rune('0'+r.Weight))}, all...)
		}
	}
	return strings.Join(all, " ")
}

func (d *declaring) sloppy() nat.Value {
	for _, s := range d.Settings() {
		if s.Name == "sloppy_tcp" {
			return s.Value
		}
	}
	return -1
}

func TestReload(t *testing.T) {
	d := newDeclaring(t, oneServer)
	if got := d.servers(); got != "10.0.2.21=1" {
		t.Fatalf("at the start: %s", got)
	}
	d.write(twoServers)
	for _, files := range [][]control.File{nil, {{Name: "x", Text: twoServers}}} {
		p, err := d.Plan(files)
		if err != nil || len(p.(*plan.Plan).Changes) != 2 {
			t.Errorf("plan %+v, %v", p, err)
		}
	}
	if got := d.servers(); got != "10.0.2.21=1" {
		t.Errorf("a plan has changed servers to %s", got)
	}
	if _, err := d.Reload(0); err != nil {
		t.Fatal(err)
	}
	if got := d.servers(); got != "10.0.2.21=1 10.0.2.22=1" || d.sloppy() != 1 {
		t.Errorf("after the reload: %s, sloppy_tcp %d", got, d.sloppy())
	}
	if err := d.Confirm(); !errors.Is(err, syscall.ENOENT) {
		t.Errorf("nothing to confirm: %v", err)
	}
}

// What is wrong anywhere in the file, or refused by the engine, changes nothing.
func TestReloadAllOrNothing(t *testing.T) {
	d := newDeclaring(t, oneServer)
	for _, c := range []struct{ text, want string }{
		{twoServers + "scheduler = \"wlcc\"\n", `6:13: unknown scheduler "wlcc"; did you mean "wlc"?` + "\n"},
		{twoServers + "[service.nolink]\nlisten = \"192.0.2.9:80\"\nserver = \"224.0.0.1\"\n", "unicast"},
		{twoServers + "[[mark]]\nmark = 0\nnic = \"nolink\"\n", "there is no NIC nolink"},
		{twoServers + "[[address]]\naddress = \"192.0.2.99\"\nnic = \"nolink\"\n", "there is no NIC nolink"},
	} {
		d.write(c.text)
		if _, err := d.Reload(0); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%v, want %s", err, c.want)
		}
		if got := d.servers(); got != "10.0.2.21=1" || d.sloppy() != 0 {
			t.Errorf("after what was refused (%s): %s, sloppy_tcp %d", c.want, got, d.sloppy())
		}
	}
	// It goes on from what was applied last.
	d.write(twoServers)
	if _, err := d.Reload(0); err != nil || d.servers() != "10.0.2.21=1 10.0.2.22=1" {
		t.Errorf("then: %v, %s", err, d.servers())
	}
}

func TestReloadIsUndone(t *testing.T) {
	d := newDeclaring(t, oneServer)
	d.write(twoServers)
	const soon = 50 * time.Millisecond
	if _, err := d.Reload(soon); err != nil {
		t.Fatal(err)
	}
	if d.servers() != "10.0.2.21=1 10.0.2.22=1" {
		t.Errorf("before it is undone: %s", d.servers())
	}
	eventually(t, "undone", func() bool { return d.servers() == "10.0.2.21=1" && d.sloppy() == 0 })
	// What is in the file is to be done again.
	eventually(t, "the last reload is over", func() bool { return !errors.Is(d.Confirm(), syscall.EBUSY) })
	if p, err := d.Plan(nil); err != nil || len(p.(*plan.Plan).Changes) != 2 {
		t.Errorf("plan %+v, %v", p, err)
	}

	if _, err := d.Reload(time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Reload(0); !errors.Is(err, syscall.EBUSY) {
		t.Errorf("a reload while one waits: %v", err)
	}
	back := d.declared.pending
	if err := d.Confirm(); err != nil {
		t.Error(err)
	}
	d.rollback(back) // its time is over at the same moment
	if d.servers() != "10.0.2.21=1 10.0.2.22=1" {
		t.Errorf("after it was confirmed: %s", d.servers())
	}
}

// What ipvsadm has changed is kept, and so it is when a reload is undone.
func TestReloadKeepsDrift(t *testing.T) {
	d := newDeclaring(t, oneServer)
	id, err := control.ParseServiceID("tcp:192.0.2.1:8080")
	if err != nil {
		t.Fatal(err)
	}
	reweight := func(weight int32) {
		s := d.Services()[0].Servers
		server := s[len(s)-1].RealServer
		server.Weight = weight
		d.apply(t, &control.Command{Op: control.EditServer, Service: &control.Service{ServiceID: id}, Server: &server})
	}
	reweight(5)
	d.write(twoServers)
	if _, err := d.Reload(time.Hour); err != nil || d.servers() != "10.0.2.21=5 10.0.2.22=1" {
		t.Fatalf("%v, %s", err, d.servers())
	}
	reweight(6)
	d.rollback(d.declared.pending)
	if d.servers() != "10.0.2.21=6" {
		t.Errorf("undone: %s", d.servers())
	}
	d.write("[director]\ndrift = \"undo\"\n" + oneServer)
	if _, err := d.Reload(0); err != nil || d.servers() != "10.0.2.21=1" {
		t.Errorf("drift undone: %v, %s", err, d.servers())
	}
}

func TestReloadWithoutFile(t *testing.T) {
	d, _, _ := newDaemon(t)
	if err := d.declare(nil); err != nil {
		t.Fatal(err)
	}
	defer d.addresses.Close()
	if _, err := d.Reload(0); !errors.Is(err, syscall.ENOENT) || !strings.Contains(err.Error(), "vsnat run -c FILE") {
		t.Errorf("reload: %v", err)
	}
	if p, err := d.Plan([]control.File{{Text: oneServer}}); err != nil || len(p.(*plan.Plan).Changes) != 2 || len(p.(*plan.Plan).Drift) != 1 {
		t.Errorf("plan of another file: %+v, %v", p, err)
	}
	if _, err := d.Plan([]control.File{{Text: "x"}}); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("plan of a bad file: %v", err)
	}
}

// The file says which services' latency is recorded; what hands asked for stays,
// and a reload that is refused or undone leaves it as it was.
func TestDeclaredLatency(t *testing.T) {
	d := newDeclaring(t, oneServer+"latency = true\n")
	measured := func() (all []string) {
		for _, s := range d.nics.latency(time.Second, time.Now()).Services {
			all = append(all, s.Service.String())
		}
		return all
	}
	check := func(when string, want ...string) {
		t.Helper()
		if got := measured(); !slices.Equal(got, want) {
			t.Errorf("%s: measured are %v, want %v", when, got, want)
		}
	}
	const web, dns = "tcp:192.0.2.1:8080", "udp:192.0.2.1:53"
	check("at first", web)
	id, err := control.ParseServiceID(dns)
	if err != nil {
		t.Fatal(err)
	}
	d.apply(t, addService(id))
	if err := d.Measure(control.Measuring{Record: []control.ServiceID{id}}); err != nil {
		t.Fatal(err)
	}
	d.write(oneServer)
	if _, err := d.Reload(time.Hour); err != nil {
		t.Fatal(err)
	}
	check("after a reload", dns)
	d.rollback(d.declared.pending)
	check("when it is undone", web, dns)
	d.write("x = 1")
	if _, err := d.Reload(0); err == nil {
		t.Error("a wrong file is taken")
	}
	check("after a refusal", web, dns)
}

// Packets pass while a transaction is under way: workers have the old services
// until they have the new ones, and wait for nobody.
func TestPacketsPassInAReload(t *testing.T) {
	d, w, r := newDaemon(t, clientNIC, otherNIC)
	d.mustReconcile(t, r)
	g := d.guard.(*fakeGuard)
	passed := false
	g.enter = func() {
		if !passed { // the first of two calls, in the midst of the transaction
			w.passes(1, otherNIC)
			passed = true
		}
	}
	d.apply(t, addService(addedID), addServer(addedID, control.RealServer{Address: netip.MustParseAddr("10.0.2.21"), Port: 80, Method: control.Masq, Weight: 1}))
	if !passed {
		t.Error("the guard was not told")
	}
}
