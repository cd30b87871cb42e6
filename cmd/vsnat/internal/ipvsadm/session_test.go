package ipvsadm

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"vsnat/cmd/vsnat/internal/ipvsadm/record"

	"vsnat/cmd/vsnat/internal/control"
)

// kernel is a director that keeps a table as the kernel's IPVS does
// (net/netfilter/ipvs/ip_vs_ctl.c) and forwards nothing. The control socket
// calls it from a goroutine for each connection.
type kernel struct {
	mu       sync.Mutex // guards all below
	services []control.ServiceEntry
	conns    []control.Connection
	timeouts control.Timeouts
	daemons  []control.Daemon
}

func newKernel() *kernel {
	return &kernel{timeouts: control.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}}
}

func (k *kernel) find(id control.ServiceID) *control.ServiceEntry {
	for i := range k.services {
		if k.services[i].ServiceID == id {
			return &k.services[i]
		}
	}
	return nil
}

func (k *kernel) Apply(cmds []control.Command, mode control.Mode) (refused []control.Refusal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	services, timeouts, daemons := cloneEntries(k.services), k.timeouts, slices.Clone(k.daemons)
	for i := range cmds {
		if err := k.apply(&cmds[i]); err != nil {
			refused = append(refused, control.Refusal{Index: i, Err: err})
			if mode == control.Atomic {
				k.services, k.timeouts, k.daemons = services, timeouts, daemons
			}
			if mode != control.GoOn {
				break
			}
		}
	}
	return refused
}

func (k *kernel) Settings() []control.Setting       { return nil }
func (k *kernel) Marks() []control.MarkRule         { return nil }
func (k *kernel) Pools() []control.Pool             { return nil }
func (k *kernel) Masquerades() []control.Masquerade { return nil }

func (k *kernel) Helpers() []control.HelperEntry { return nil }

func (k *kernel) apply(c *control.Command) error {
	var svc *control.ServiceEntry
	if c.Service != nil {
		svc = k.find(c.Service.ServiceID)
	}
	switch c.Op {
	case control.AddService:
		if svc != nil {
			return syscall.EEXIST
		}
		if err := checkService(c.Service); err != nil {
			return err
		}
		k.services = append(k.services, control.ServiceEntry{Service: *c.Service})
		return nil
	case control.Flush:
		k.services = nil
		return nil
	case control.SetTimeouts:
		for _, t := range []struct{ to, from *uint32 }{
			{&k.timeouts.TCP, &c.Timeouts.TCP}, {&k.timeouts.TCPFin, &c.Timeouts.TCPFin}, {&k.timeouts.UDP, &c.Timeouts.UDP},
		} {
			if *t.from != 0 {
				*t.to = *t.from
			}
		}
		return nil
	case control.StartDaemon, control.StopDaemon:
		return k.daemon(c.Op, *c.Daemon)
	case control.Zero:
		if c.Service == nil {
			return nil
		}
	}
	if svc == nil {
		return syscall.ESRCH
	}
	switch c.Op {
	case control.EditService:
		if err := checkService(c.Service); err != nil {
			return err
		}
		svc.Service = *c.Service
	case control.DeleteService:
		k.services = slices.DeleteFunc(k.services, func(e control.ServiceEntry) bool { return e.ServiceID == c.Service.ServiceID })
	case control.AddServer, control.EditServer, control.DeleteServer:
		return applyServer(svc, c.Op, *c.Server)
	}
	return nil
}

func checkService(s *control.Service) error {
	known := strings.Fields("none rr wrr lc wlc lblc lblcr dh sh sed nq fo ovf mh")
	if !slices.Contains(known, s.Scheduler) || s.PE != "" && s.PE != "sip" {
		return syscall.ENOENT
	}
	if s.Family == control.IPv6 && (s.Netmask < 1 || s.Netmask > 128) {
		return syscall.EINVAL
	}
	return nil
}

func applyServer(svc *control.ServiceEntry, op control.Op, s control.RealServer) error {
	at := slices.IndexFunc(svc.Servers, func(e control.ServerEntry) bool { return e.Address == s.Address && e.Port == s.Port })
	if op == control.DeleteServer {
		if at < 0 {
			return syscall.ENOENT
		}
		svc.Servers = slices.Delete(svc.Servers, at, at+1)
		return nil
	}
	if s.Weight < 0 || s.LThreshold > s.UThreshold {
		return syscall.ERANGE
	}
	if op == control.EditServer {
		if at < 0 {
			return syscall.ENOENT
		}
		svc.Servers[at].RealServer = s
		return nil
	}
	if at >= 0 {
		return syscall.EEXIST
	}
	if a := s.Address; a.IsMulticast() || a.IsUnspecified() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) || a.Is6() && a.IsLinkLocalUnicast() {
		return syscall.EINVAL
	}
	svc.Servers = slices.Insert(svc.Servers, 0, control.ServerEntry{RealServer: s})
	return nil
}

func (k *kernel) daemon(op control.Op, d control.Daemon) error {
	at := slices.IndexFunc(k.daemons, func(o control.Daemon) bool { return o.Role == d.Role })
	if op == control.StopDaemon {
		if at < 0 {
			return syscall.ESRCH
		}
		k.daemons = slices.Delete(k.daemons, at, at+1)
		return nil
	}
	if d.Interface != "dummy0" {
		return syscall.ENODEV
	}
	if at >= 0 {
		return syscall.EEXIST
	}
	if d.MaxLen == 0 {
		d.MaxLen = 1472
	}
	if d.Role == control.Backup {
		d.MaxLen = max(d.MaxLen, 1024)
	}
	if !d.Group.IsValid() {
		d.Group = netip.MustParseAddr("224.0.0.81")
	}
	if d.Port == 0 {
		d.Port = 8848
	}
	if d.TTL == 0 {
		d.TTL = 1
	}
	k.daemons = append(k.daemons, d)
	return nil
}

// cloneEntries copies entries with their servers.
func cloneEntries(entries []control.ServiceEntry) []control.ServiceEntry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].Servers = slices.Clone(entries[i].Servers)
	}
	return entries
}

func (k *kernel) Services() []control.ServiceEntry {
	k.mu.Lock()
	defer k.mu.Unlock()
	return cloneEntries(k.services)
}

func (k *kernel) Service(id control.ServiceID) (control.ServiceEntry, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.find(id); e != nil {
		return cloneEntries([]control.ServiceEntry{*e})[0], nil
	}
	return control.ServiceEntry{}, syscall.ESRCH
}

func (k *kernel) Connections(cursor uint64, buf []control.Connection) (int, uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := copy(buf, k.conns[cursor:])
	if next := cursor + uint64(n); next < uint64(len(k.conns)) {
		return n, next
	}
	return n, 0
}

func (k *kernel) Timeouts() control.Timeouts {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.timeouts
}

func (k *kernel) Daemons() []control.Daemon {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.daemons)
}

func (k *kernel) Info() control.Info {
	return control.Info{Version: "test", IPVSVersion: "1.2.1", TableSize: 4096, PID: os.Getpid()}
}

func (k *kernel) Report(control.Report) (any, error) { return nil, syscall.EOPNOTSUPP }

// serve lets d answer on a socket and returns a client of it.
func serve(t testing.TB, d control.Director) *control.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	srv := control.NewServer(d, nil)
	done := make(chan error)
	go func() { done <- srv.Serve(l) }()
	client := control.NewClient(path)
	t.Cleanup(func() {
		client.Close()
		if err := srv.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return client
}

// TestSession replays what the real tool printed over the real kernel.
func TestSession(t *testing.T) {
	for path, least := range map[string]int{"testdata/session.txt": 300, "testdata/random.txt": 900, "testdata/bundles.txt": 1300, "testdata/saved.txt": 9} {
		t.Run(filepath.Base(path), func(t *testing.T) {
			client := serve(t, newKernel())
			session := record.Read(t, path)
			for _, c := range session {
				var stdout, stderr bytes.Buffer
				args := c.Args()
				code := Main(args[0], args[1:], strings.NewReader(c.Stdin), &stdout, &stderr, client, record.Names{})
				c.Check(t, stdout.String(), stderr.String(), code)
			}
			if len(session) < least {
				t.Fatalf("only %d commands in the record", len(session))
			}
		})
	}
}
