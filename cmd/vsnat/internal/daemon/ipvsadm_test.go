package daemon

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/ipvsadm"
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
	return d, client
}

// TestIpvsadmAsTheKernel replays what the real tool printed over the real kernel.
func TestIpvsadmAsTheKernel(t *testing.T) {
	record, err := os.ReadFile("testdata/ipvsadm.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, client := listening(t)
	var stdin, want strings.Builder
	var command string
	commands := 0
	marked := func(mark, text string) string {
		var b strings.Builder
		for line := range strings.Lines(text) {
			b.WriteString(mark + line)
		}
		return b.String()
	}
	for i, line := range strings.Split(string(record), "\n") {
		switch {
		case strings.HasPrefix(line, "< "):
			stdin.WriteString(line[2:] + "\n")
		case strings.HasPrefix(line, "$ "):
			command = line[2:]
			want.Reset()
		case strings.HasPrefix(line, "|"), strings.HasPrefix(line, "!"):
			want.WriteString(line + "\n")
		case strings.HasPrefix(line, "= "):
			commands++
			args := strings.Fields(command)
			var stdout, stderr bytes.Buffer
			code := ipvsadm.Main(args[0], args[1:], strings.NewReader(stdin.String()), &stdout, &stderr, client)
			got := marked("|", stdout.String()) + marked("!", stderr.String())
			if got != want.String() || fmt.Sprintf("= %d", code) != line {
				t.Errorf("line %d: %s\ngot code %d\n%swant%s\n%s", i+1, command, code, got, line[1:], want.String())
			}
			stdin.Reset()
		}
	}
	if commands < 100 {
		t.Fatalf("only %d commands in the record", commands)
	}
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
			var out, err bytes.Buffer
			if code := ipvsadm.Main("ipvsadm", []string{"-L", "-n"}, strings.NewReader(""), &out, &err, client); code != 0 || bytes.Count(out.Bytes(), []byte("\n")) != 55003 {
				b.Fatalf("code %d, %s", code, err.String())
			}
		}
	})
	b.Run("restore", func(b *testing.B) {
		var rules, errs bytes.Buffer
		ipvsadm.Main("ipvsadm-save", []string{"-n"}, strings.NewReader(""), &rules, &errs, client)
		for b.Loop() {
			var out, err bytes.Buffer
			if code := ipvsadm.Main("ipvsadm-restore", nil, bytes.NewReader(rules.Bytes()), &out, &err, client); code != 0 {
				b.Fatalf("code %d, %s", code, err.String())
			}
		}
	})
}
