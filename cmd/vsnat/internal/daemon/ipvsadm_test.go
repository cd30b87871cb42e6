package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/address"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/ipvsadm"
	"vsnat/cmd/vsnat/internal/ipvsadm/record"
	"vsnat/cmd/vsnat/internal/plan"
	"vsnat/conntrack"
	"vsnat/nat"
)

// listening returns a client of a daemon without services or NICs.
func listening(t testing.TB) (*daemon, *control.Client) {
	t.Helper()
	e, err := nat.New(nat.Options{Conns: conntrack.Config{Max: 1000}, Guarded: true})
	if err != nil {
		t.Fatal(err)
	}
	r := &fakeRoutes{}
	e.SetRoutes(r)
	d := &daemon{log: zap.NewNop(), engine: e, guard: &fakeGuard{}, routes: newFakeWatcher(r)}
	d.nics = newNICs(d)
	return d, serve(t, d)
}

// serve has a daemon answer at a socket, and returns a client of it.
func serve(t testing.TB, d *daemon) *control.Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	l, err := control.Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(d, nil)
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	client := control.NewClient(path)
	t.Cleanup(func() {
		client.Close()
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return client
}

// unbuilt are the commands that the director refuses, as differences.md says:
// connection synchronisation.
var unbuilt = regexp.MustCompile(`-daemon (master|backup)|-L --daemon`)

// TestIpvsadmAsTheKernel replays what the real tool printed over the real kernel.
func TestIpvsadmAsTheKernel(t *testing.T) {
	for name, least := range map[string]int{"session.txt": 310, "random.txt": 890, "bundles.txt": 1290, "saved.txt": 9} {
		t.Run(name, func(t *testing.T) {
			_, client := listening(t)
			compared := 0
			for _, c := range record.Read(t, filepath.Join("../ipvsadm/testdata", name)) {
				if unbuilt.MatchString(c.Text) && c.Code != 2 { // 2 is what the tool itself refuses
					continue
				}
				compared++
				args := c.Args()
				stdout, stderr, code := ipvsadmRun(client, c.Stdin, args[0], args[1:]...)
				c.Check(t, stdout, stderr, code)
			}
			if compared < least {
				t.Errorf("only %d commands are compared, want %d", compared, least)
			}
		})
	}
}

// ipvsadmRun runs the tool with the names of the records.
func ipvsadmRun(c *control.Client, stdin, name string, args ...string) (stdout, stderr string, code int) {
	var out, err bytes.Buffer
	code = ipvsadm.Main(name, args, strings.NewReader(stdin), &out, &err, c, record.Names{})
	return out.String(), err.String(), code
}

// bigTable are the commands that add 5,000 services of 10 servers.
func bigTable() (cmds []control.Command) {
	for i := range 5000 {
		vip := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		id := control.ServiceID{Family: control.IPv4, Protocol: control.TCP, Address: vip, Port: 80}
		cmds = append(cmds, *addService(id))
		for r := range 10 {
			cmds = append(cmds, *addServer(id, control.RealServer{
				Address: netip.AddrFrom4([4]byte{10, byte(1 + r), byte(i >> 8), byte(i)}), Port: 8080, Method: control.Masq, Weight: 1,
			}))
		}
	}
	return cmds
}

// bigFile is a configuration file of the same table. One server of it has that
// weight.
func bigFile(weight int) []byte {
	var b bytes.Buffer
	for i := range 5000 {
		fmt.Fprintf(&b, "[service.s%d]\nlisten = \"10.0.%d.%d:80\"\nserver = [", i, i>>8, i&255)
		for r := range 10 {
			w := 1
			if i == 4321 && r == 7 {
				w = weight
			}
			fmt.Fprintf(&b, "{ address = \"10.%d.%d.%d:8080\", weight = %d }, ", 1+r, i>>8, i&255, w)
		}
		b.WriteString("]\n")
	}
	return b.Bytes()
}

// Such a file read again, with one weight that changed: all that `vsnat reload'
// waits for.
func BenchmarkReload(b *testing.B) {
	d, client := listening(b)
	d.addresses = address.New(func(string, error) {})
	b.Cleanup(d.addresses.Close)
	d.declared.base = &plan.State{}
	d.cfg.File = filepath.Join(b.TempDir(), "vsnat.toml")
	write := func(weight int) {
		if err := os.WriteFile(d.cfg.File, bigFile(weight), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	reload := func() *plan.Plan {
		p := new(plan.Plan)
		if err := client.Reload(context.Background(), 0, p); err != nil {
			b.Fatal(err)
		}
		return p
	}
	write(1)
	reload()
	for n := 2; b.Loop(); n++ {
		b.StopTimer()
		write(n & 3)
		b.StartTimer()
		if p := reload(); len(p.Changes) != 1 {
			b.Fatalf("%d changes", len(p.Changes))
		}
	}
}

// A table of 5,000 services of 10 servers over the control socket: made, one
// weight of it changed, and listed.
func BenchmarkBigTable(b *testing.B) {
	_, client := listening(b)
	ctx := context.Background()
	table := bigTable()
	if err := client.Transact(ctx, table...); err != nil {
		b.Fatal(err)
	}
	b.Run("make", func(b *testing.B) {
		for b.Loop() {
			if err := client.Transact(ctx, append([]control.Command{{Op: control.Flush}}, table...)...); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("weight", func(b *testing.B) {
		change := table[len(table)-1]
		change.Op = control.EditServer
		for b.Loop() {
			change.Server.Weight ^= 1
			if err := client.Transact(ctx, change); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("list", func(b *testing.B) {
		for b.Loop() {
			out, err, code := ipvsadmRun(client, "", "ipvsadm", "-L", "-n")
			if code != 0 || strings.Count(out, "\n") != 55003 {
				b.Fatalf("code %d, %s", code, err)
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		rules, _, _ := ipvsadmRun(client, "", "ipvsadm-save", "-n")
		for b.Loop() {
			if _, err, code := ipvsadmRun(client, rules, "ipvsadm-restore"); code != 0 {
				b.Fatalf("code %d, %s", code, err)
			}
		}
	})
}
