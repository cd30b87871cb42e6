package lab

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"vsnat/bench/lab"
)

func TestParseStartTime(t *testing.T) {
	const rest = " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21"
	for _, tt := range []struct {
		stat string
		want uint64
		ok   bool
	}{
		{"12 (vsnat)" + rest, 4711, true},
		{"12 (a) b (c)" + rest, 4711, true},
		{"12 (vsnat) S 1 2 3", 0, false},
		{"", 0, false},
		{"12 (vsnat)" + strings.Replace(rest, "4711", "x", 1), 0, false},
	} {
		got, err := parseStartTime(tt.stat)
		if got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %d, %v; want %d", tt.stat, got, err, tt.want)
		}
	}
}

func TestFindTellsProcessesApart(t *testing.T) {
	start, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	h, err := find(os.Getpid(), start)
	if err != nil || h == nil {
		t.Fatalf("this process: %v, %v", h, err)
	}
	defer h.close()
	if gone, err := h.wait(0); gone || err != nil {
		t.Errorf("this process is gone: %v, %v", gone, err)
	}
	// The same number, started at another time.
	if other, err := find(os.Getpid(), start+1); err != nil || other != nil {
		t.Errorf("another process of the same number: %v, %v", other, err)
	}
}

func TestClaim(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, lock, err := claim("x")
	if err != nil {
		t.Fatal(err)
	}
	// What its owner leaves when it is killed: everything but the lock.
	if err := os.WriteFile(filepath.Join(dir, stateFile), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := claim("x"); err == nil || !strings.Contains(err.Error(), "there is a lab x already") {
		t.Errorf("a second claim: %v", err)
	}
	if err := discard(dir); !errors.Is(err, errAlive) {
		t.Errorf("discard of one that lives: %v", err)
	}
	if alive, err := sweep(); err != nil || len(alive) != 1 || alive[0] != "x" {
		t.Errorf("sweep: %v, %v; want x", alive, err)
	}
	if _, _, err := load("x"); err == nil {
		t.Error("a broken state was read")
	}
	lock.Close()

	again, lock, err := claim("x")
	if err != nil || again != dir {
		t.Fatalf("claim of what a dead owner left: %v, %v", again, err)
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); !os.IsNotExist(err) {
		t.Errorf("its state is still there: %v", err)
	}
	if _, _, err := load("x"); err == nil || !strings.Contains(err.Error(), "just starting") {
		t.Errorf("load of one that is starting: %v", err)
	}
	lock.Close()
	if alive, err := sweep(); err != nil || len(alive) != 0 {
		t.Errorf("sweep: %v, %v; want none", alive, err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", dir, err)
	}
}

func TestSocketPathsAreShortEnough(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(t.TempDir(), strings.Repeat("x", 80)))
	if _, err := stateDir("paper"); err == nil || !strings.Contains(err.Error(), "XDG_RUNTIME_DIR") {
		t.Errorf("a path of more than 107 bytes was taken: %v", err)
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"paper": true, "run-123": true, "A_b": true,
		"": false, ".": false, "..": false, "a/b": false, "a b": false, strings.Repeat("x", 33): false,
	} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestEveryVerbHasHelpWithAnExample(t *testing.T) {
	var check func(*cobra.Command)
	check = func(c *cobra.Command) {
		if !c.Hidden && (c.Short == "" || !strings.Contains(c.Example, "vsnat lab")) {
			t.Errorf("%s: no description or no example", c.CommandPath())
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(Command())
}

func TestServiceCommands(t *testing.T) {
	r := recipe{method: "masq", subnet: "10.0.100.0/24", scheduler: "wrr", director: []string{"--debug"}}
	r.paper.Servers, r.paper.IPv6 = 2, true
	r.setup = []string{"echo done"}
	o, err := r.options("x")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, argv := range append([][]string{o.Director}, o.Setup...) {
		got = append(got, strings.Join(argv, " "))
	}
	want := []string{
		lab.Self + " run --debug",
		lab.Self + " ipvsadm -A -t 192.168.28.167:80 -s wrr",
		lab.Self + " ipvsadm -a -t 192.168.28.167:80 -r 10.0.100.11:80 -m -w 1",
		lab.Self + " ipvsadm -a -t 192.168.28.167:80 -r 10.0.100.12:80 -m -w 1",
		lab.Self + " ipvsadm -A -t [fd00:28::167]:80 -s wrr",
		lab.Self + " ipvsadm -a -t [fd00:28::167]:80 -r [fd00:100::11]:80 -m -w 1",
		lab.Self + " ipvsadm -a -t [fd00:28::167]:80 -r [fd00:100::12]:80 -m -w 1",
		"sh -c echo done",
	}
	if !slices.Equal(got, want) {
		t.Errorf("commands\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestServiceCommandsOfTunnels(t *testing.T) {
	for tunnel, want := range map[string]string{
		"ipip": "-i --tun-type ipip",
		"gue":  "-i --tun-type gue --tun-port 5555 --tun-nocsum",
		"gre":  "-i --tun-type gre --tun-nocsum",
		"sit":  "",
	} {
		r := recipe{method: "tunnel", tunnel: tunnel, subnet: "10.0.100.0/24", scheduler: "rr"}
		r.paper.Servers = 1
		o, err := r.options("x")
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "--tunnel") {
				t.Errorf("%s: %v", tunnel, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		want = "ipvsadm -a -t 192.168.28.167:80 -r 10.0.100.11:80 " + want + " -w 1"
		if got := strings.Join(o.Setup[1][1:], " "); got != want || o.Decap != lab.GUEPort {
			t.Errorf("%s, port %d, want %s", got, o.Decap, want)
		}
	}
}

// In a lab ipvsadm is the one that speaks to its director.
func TestOwnDirInPath(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(exe)
	for _, c := range []struct{ name, want string }{
		{"no ipvsadm beside us", "/usr/sbin:/usr/bin:" + dir},
		{"ipvsadm is us", dir + ":/usr/sbin:/usr/bin"},
	} {
		t.Setenv("PATH", "/usr/sbin:/usr/bin")
		if err := addOwnDir(); err != nil {
			t.Fatal(err)
		}
		if got := os.Getenv("PATH"); got != c.want {
			t.Errorf("%s: PATH is %s, want %s", c.name, got, c.want)
		}
		link := filepath.Join(dir, "ipvsadm")
		_ = os.Remove(link) // of a run before
		if err := os.Symlink(exe, link); err != nil {
			t.Fatal(err)
		}
		defer os.Remove(link)
	}
}
