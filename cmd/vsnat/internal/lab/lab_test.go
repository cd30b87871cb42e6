package lab

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/bench/lab"
)

// TestMain lets the test binary stand in for vsnat: `lab` is this package, `run`
// a director that has a control socket and nothing else, `ipvsadm` writes down
// what it was asked.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "lab":
			os.Exit(runVerb(os.Args[2:]))
		case "run":
			os.Exit(fakeDirector())
		case "ipvsadm":
			os.Exit(fakeIpvsadm(os.Args[2:]))
		}
	}
	// A race-detecting program sleeps for a second when it exits, and these tests
	// run themselves many times.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	lab.Main(m)
}

// runVerb does what vsnat's main does with the verb.
func runVerb(args []string) int {
	cmd := Command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	var exit interface{ ExitCode() int }
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	fmt.Fprintln(os.Stderr, "vsnat:", err)
	return 1
}

func fakeDirector() int {
	l, err := net.Listen("unix", os.Getenv("VSNAT_SOCKET"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	http.HandleFunc("GET /v1/status", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	go http.Serve(l, nil)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM)
	<-end
	time.Sleep(50 * time.Millisecond) // it takes its time, as a real one may
	bed := filepath.Dir(filepath.Dir(filepath.Dir(os.Getenv("VSNAT_SOCKET"))))
	if err := os.WriteFile(filepath.Join(bed, directorEnded), nil, 0o600); err != nil {
		return 1
	}
	return 0
}

// directorEnded is the file that the fake director leaves when it has ended in
// good order, in the runtime directory.
const directorEnded = "director-ended"

func fakeIpvsadm(args []string) int {
	f, err := os.OpenFile(filepath.Join(filepath.Dir(os.Getenv("VSNAT_SOCKET")), "ipvsadm.args"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	fmt.Fprintln(f, strings.Join(args, " "))
	return 0
}

// bed is a place for labs of one test.
type bed struct {
	t   *testing.T
	dir string // XDG_RUNTIME_DIR
	as  *syscall.Credential
}

// newBed makes one and sees to it that no lab survives the test.
func newBed(t *testing.T) *bed {
	t.Helper()
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	// Not t.TempDir: a long test name makes the path of a socket too long.
	dir, err := os.MkdirTemp("", "lab")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, dir: dir}
	t.Cleanup(func() {
		b.ok("down", "--all")
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return b
}

// command returns `vsnat lab ARGS…`.
func (b *bed) command(args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append([]string{"lab"}, args...)...)
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+b.dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: b.as}
	return cmd
}

// run runs `vsnat lab ARGS…` and returns what it wrote and its exit code.
func (b *bed) run(args ...string) (stdout, stderr string, code int) {
	b.t.Helper()
	cmd := b.command(args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		b.t.Fatal(err)
	}
	return out.String(), errs.String(), lab.ExitCode(cmd.ProcessState)
}

// ok is run for what must succeed.
func (b *bed) ok(args ...string) string {
	b.t.Helper()
	out, errs, code := b.run(args...)
	if code != 0 {
		b.t.Fatalf("vsnat lab %s: exit code %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	return out
}

// state asks for the state of the only lab.
func (b *bed) state() *State {
	b.t.Helper()
	var s State
	if err := json.Unmarshal([]byte(b.ok("status", "--json")), &s); err != nil {
		b.t.Fatal(err)
	}
	return &s
}

// stateDirs lists what there is below the state directory.
func (b *bed) stateDirs() []string {
	entries, err := os.ReadDir(filepath.Join(b.dir, "vsnat-lab"))
	if err != nil {
		b.t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// namespaces returns the namespaces of all hosts of a lab.
func (b *bed) namespaces(s *State) map[string]bool {
	b.t.Helper()
	all := make(map[string]bool)
	for _, h := range s.Topology.Hosts {
		all[strings.TrimSpace(b.ok("exec", h.Name, "readlink", "/proc/self/ns/net"))] = true
	}
	if len(all) != len(s.Topology.Hosts) {
		b.t.Fatalf("%d hosts share %d namespaces", len(s.Topology.Hosts), len(all))
	}
	return all
}

// processesIn lists the processes that are in one of the namespaces, by any of
// their threads.
func processesIn(t *testing.T, namespaces map[string]bool) []string {
	t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/task/*/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	var in []string
	for _, l := range links {
		if ns, err := os.Readlink(l); err == nil && namespaces[ns] {
			in = append(in, l)
		}
	}
	return in
}

// waitFor waits for what happens in its own time.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after 10 s: %s", what)
		}
	}
}

// ended tells whether the supervisor of a lab has ended. Its parent may not have
// waited for it yet.
func ended(t *testing.T, s *State) bool {
	t.Helper()
	h, err := find(s.Supervisor, s.Start)
	if err != nil {
		t.Fatal(err)
	}
	if h == nil {
		return true
	}
	defer h.close()
	gone, err := h.wait(0)
	if err != nil {
		t.Fatal(err)
	}
	return gone
}

func TestUpExecDown(t *testing.T) {
	b := newBed(t)
	testUpExecDown(t, b)
}

func TestUpExecDownWithoutRoot(t *testing.T) {
	b := newBed(t)
	if os.Geteuid() != 0 || !inFirstUserNamespace(t) {
		t.Skip("needs root, to become another user; without root all tests run in a user namespace anyway")
	}
	const nobody = 65534
	b.as = &syscall.Credential{Uid: nobody, Gid: nobody}
	if err := os.Chown(b.dir, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	if _, errs, code := b.run("up"); code != 0 && strings.Contains(errs, "kernel refuses") {
		t.Skip("needs user namespaces: " + errs)
	}
	if s := b.state(); !s.UserNamespace {
		t.Error("the lab says it is in no user namespace")
	}
	b.ok("down")
	testUpExecDown(t, b)
}

// inFirstUserNamespace tells whether user numbers here are those of the machine.
func inFirstUserNamespace(t *testing.T) bool {
	m, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(m)), " ") == "0 0 4294967295"
}

func testUpExecDown(t *testing.T, b *bed) {
	out := b.ok("up", "--forward", "--rate", "500")
	for _, want := range []string{"192.168.28.167/24 VIP", "10.0.100.15/24", "page :80 500/s"} {
		if !strings.Contains(out, want) {
			t.Errorf("up does not show %q:\n%s", want, out)
		}
	}
	if _, errs, code := b.run("up"); code != 1 || !strings.Contains(errs, "vsnat lab down paper") {
		t.Errorf("a second up: exit code %d, %q", code, errs)
	}

	s := b.state()
	namespaces := b.namespaces(s)
	if s.Name != "paper" || len(s.Processes) != 5 || len(s.Topology.Hosts) != 7 {
		t.Errorf("state %+v", s)
	}
	if got, err := startTime(s.Supervisor); err != nil || got != s.Start {
		t.Errorf("the supervisor's start time is %d (%v), the state says %d", got, err, s.Start)
	}
	for _, p := range s.Processes {
		ns, err := os.Readlink("/proc/" + strconv.Itoa(p.PID) + "/ns/net")
		if b.as == nil && (err != nil || !namespaces[ns]) {
			t.Errorf("process %d of %s is in %s, %v", p.PID, p.Host, ns, err)
		}
		if p.State != "running" {
			t.Errorf("%s of %s: %s", p.What, p.Host, p.State)
		}
	}
	args, err := os.ReadFile(filepath.Join(b.dir, "vsnat-lab/paper/ipvsadm.args"))
	if want := "-A -t 192.168.28.167:80 -s rr\n-a -t 192.168.28.167:80 -r 10.0.100.11:80 -m -w 1\n"; err != nil || !strings.HasPrefix(string(args), want) {
		t.Errorf("ipvsadm was asked\n%s%v", args, err)
	}

	// The director forwards, so that a server can be asked directly.
	page := b.ok("exec", "client", "bash", "-c", "exec 3<>/dev/tcp/10.0.100.12/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3")
	head, body, _ := strings.Cut(page, "\r\n\r\n")
	if !strings.Contains(head, "X-Real-Server: 10.0.100.12") || len(body) != lab.PageSize {
		t.Errorf("the page: %d bytes, %q", len(body), head)
	}
	for _, p := range b.state().Processes {
		if p.Host == "server2" && (p.Page == nil || p.Page.Served != 1 || p.Page.Rate != 500) {
			t.Errorf("figures of server2: %+v, want one page served at 500/s", p.Page)
		}
	}

	// A daemon that has left its parent goes too.
	b.ok("exec", "client", "sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 &")
	b.ok("down")
	if !ended(t, s) {
		t.Error("the supervisor is still there")
	}
	if in := processesIn(t, namespaces); len(in) != 0 {
		t.Errorf("still in the lab's namespaces: %v", in)
	}
	if left := b.stateDirs(); len(left) != 0 {
		t.Errorf("state directories left: %v", left)
	}
	if _, errs, code := b.run("status"); code != 1 || !strings.Contains(errs, "no lab is up") {
		t.Errorf("status after down: exit code %d, %q", code, errs)
	}
}

func TestExec(t *testing.T) {
	b := newBed(t)
	b.ok("up", "--no-page", "--no-director", "--servers", "1")
	for _, tt := range []struct {
		name string
		argv []string
		out  string
		errs string // part of it
		code int
	}{
		{name: "output", argv: []string{"client", "echo", "a", "b"}, out: "a b\n"},
		{name: "flags are the command's", argv: []string{"client", "printf", "%s", "--name"}, out: "--name"},
		{name: "exit code", argv: []string{"server1", "sh", "-c", "exit 7"}, code: 7},
		{name: "killed", argv: []string{"server1", "sh", "-c", "kill -9 $$"}, code: 137},
		{name: "no such command", argv: []string{"client", "no-such-command"}, errs: "no-such-command", code: 127},
		{name: "not executable", argv: []string{"client", "/etc/passwd"}, errs: "permission", code: 126},
		{name: "no such host", argv: []string{"server9", "true"}, errs: `no host "server9": there are client director switch server1`, code: 1},
		{name: "environment", argv: []string{"server1", "sh", "-c", "echo $VSNAT_LAB $VSNAT_LAB_HOST ${VSNAT_SOCKET##*/} $PWD"}, out: "paper server1 vsnat.sock /\n"},
		{name: "own NICs only", argv: []string{"client", "sh", "-c", "ls /sys/class/net | grep -v '^lo$'"}, out: "client-0\n"},
		{name: "named lab", argv: []string{"-n", "other", "client", "true"}, errs: "there is no lab other", code: 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			out, errs, code := b.run(append([]string{"exec"}, tt.argv...)...)
			if out != tt.out || code != tt.code || !strings.Contains(errs, tt.errs) {
				t.Errorf("exit code %d, output %q, errors %q; want %d, %q, %q", code, out, errs, tt.code, tt.out, tt.errs)
			}
		})
	}

	t.Run("input", func(t *testing.T) {
		cmd := b.command("exec", "client", "tr", "a-z", "A-Z")
		cmd.Stdin = strings.NewReader("hello")
		if out, err := cmd.Output(); err != nil || string(out) != "HELLO" {
			t.Errorf("%q, %v", out, err)
		}
	})
	t.Run("orphans are reaped", func(t *testing.T) {
		b.ok("exec", "client", "sh", "-c", "(sleep 0.01 &)")
		waitFor(t, "no zombies", func() bool {
			return !strings.Contains(b.ok("exec", "client", "sh", "-c", "cat /proc/[0-9]*/stat 2>/dev/null; true"), ") Z ")
		})
	})
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run("forwards "+sig.String(), func(t *testing.T) {
			cmd := b.command("exec", "client", "sh", "-c", "echo started; exec sleep 1000")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			io.ReadFull(out, make([]byte, len("started\n")))
			cmd.Process.Signal(sig)
			cmd.Wait()
			if got, want := lab.ExitCode(cmd.ProcessState), 128+int(sig); got != want {
				t.Errorf("exit code %d, want %d", got, want)
			}
		})
	}
	t.Run("command ends with its caller", func(t *testing.T) {
		cmd := b.command("exec", "client", "sh", "-c", "readlink /proc/self/ns/net; exec sleep 1000")
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, _ := out.Read(buf)
		client := map[string]bool{strings.TrimSpace(string(buf[:n])): true}
		holders := len(processesIn(t, client)) // sleep, and the supervisor's threads
		cmd.Process.Kill()
		cmd.Wait()
		waitFor(t, "sleep is gone", func() bool { return len(processesIn(t, client)) < holders })
	})
}

func TestExecGivesShellATerminal(t *testing.T) {
	b := newBed(t)
	b.ok("up", "--no-page", "--no-director", "--servers", "1")
	user, err := newTerminal() // the user's side, of the same make
	if err != nil {
		t.Fatal(err)
	}
	defer user.outer.Close()
	cmd := b.command("exec", "client", "sh", "-i")
	cmd.Env = append(cmd.Env, "PS1=> ")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = user.inner, user.inner, user.inner
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	user.inner.Close()
	var seen strings.Builder
	until := func(want string) {
		t.Helper()
		user.outer.SetReadDeadline(time.Now().Add(10 * time.Second))
		buf := make([]byte, 1024)
		for !strings.Contains(seen.String(), want) {
			n, err := user.outer.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %q: %v; seen:\n%s", want, err, seen.String())
			}
			seen.Write(buf[:n])
		}
	}
	until("> ")
	// The controlling terminal is there, and ^C stops what runs in the shell's
	// foreground, not the shell.
	io.WriteString(user.outer, "tty </dev/tty && echo terminal-$((40+2)); sleep 1000\n")
	until("terminal-42")
	for !strings.Contains(b.ok("exec", "client", "sh", "-c", "cat /proc/[0-9]*/comm"), "sleep") {
		time.Sleep(5 * time.Millisecond)
	}
	io.WriteString(user.outer, "\x03")
	io.WriteString(user.outer, "echo still-$((40+3))\n")
	until("still-43")
	io.WriteString(user.outer, "exit 5\n")
	cmd.Wait()
	if got := lab.ExitCode(cmd.ProcessState); got != 5 {
		t.Errorf("exit code %d, want 5; seen:\n%s", got, seen.String())
	}
	if s := seen.String(); strings.Contains(s, "no job control") || strings.Contains(s, "can't access tty") {
		t.Errorf("the shell has no terminal:\n%s", s)
	}
}

func TestKilledSupervisorLeavesNothing(t *testing.T) {
	b := newBed(t)
	b.ok("up")
	s := b.state()
	namespaces := b.namespaces(s)
	b.ok("exec", "server3", "sh", "-c", "setsid sleep 1000 </dev/null >/dev/null 2>&1 &")
	if err := syscall.Kill(s.Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "no process in the lab's namespaces", func() bool { return len(processesIn(t, namespaces)) == 0 })
	if left := b.stateDirs(); len(left) != 1 {
		t.Fatalf("state directories %v: want the dead one, which only another verb can remove", left)
	}
	// A new lab of another name clears it away; one of the same name takes its place.
	b.ok("up", "other", "--no-page", "--no-director")
	if left := b.stateDirs(); len(left) != 1 || left[0] != "other" {
		t.Errorf("state directories %v, want only other", left)
	}
	if err := syscall.Kill(b.state().Supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	// It holds its lock until it is quite dead.
	waitFor(t, "up works again", func() bool {
		_, _, code := b.run("up", "other")
		return code == 0
	})
	if out := b.ok("exec", "client", "echo", "works"); out != "works\n" {
		t.Errorf("exec in the second lab: %q", out)
	}
}

func TestDownEndsDirectorInGoodOrder(t *testing.T) {
	b := newBed(t)
	b.ok("up", "--no-page")
	b.ok("down")
	if _, err := os.Stat(filepath.Join(b.dir, directorEnded)); err != nil {
		t.Errorf("the director was killed: %v", err)
	}
}

func TestRun(t *testing.T) {
	b := newBed(t)
	out, errs, code := b.run("run", "--no-page", "--servers", "1", "--", "sh", "-c", "echo in $VSNAT_LAB_HOST; exit 3")
	if out != "in client\n" || code != 3 {
		t.Errorf("exit code %d, output %q, errors %q; want 3, in client", code, out, errs)
	}
	if left := b.stateDirs(); len(left) != 0 {
		t.Errorf("state directories left: %v", left)
	}
	if out := b.ok("run", "--no-page", "--no-director", "--host", "director", "--", "sh", "-c", "echo in $VSNAT_LAB_HOST"); out != "in director\n" {
		t.Errorf("--host director: %q", out)
	}
	if _, errs, code := b.run("run", "--host", "nobody", "--", "true"); code != 1 || !strings.Contains(errs, "there are client") {
		t.Errorf("--host nobody: exit code %d, %q", code, errs)
	}

	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run("ends on "+sig.String(), func(t *testing.T) {
			cmd := b.command("run", "--no-page", "--no-director", "--", "sh", "-c", "readlink /proc/self/ns/net; exec sleep 1000")
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 100)
			n, err := out.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			client := map[string]bool{strings.TrimSpace(string(buf[:n])): true}
			cmd.Process.Signal(sig)
			cmd.Wait()
			if got := lab.ExitCode(cmd.ProcessState); got != 128+int(sig) {
				t.Errorf("exit code %d, want %d", got, 128+int(sig))
			}
			waitFor(t, "nobody in the client", func() bool { return len(processesIn(t, client)) == 0 })
			waitFor(t, "no state directory", func() bool { return len(b.stateDirs()) == 0 })
		})
	}
}

func TestUpThatFailsLeavesNothing(t *testing.T) {
	b := newBed(t)
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"setup", "exit status 9", []string{"--setup", "echo no luck; exit 9"}},
		{"rate", "-1 for --rate", []string{"--rate", "-1"}},
		{"mtu", "MTU is 10 bytes: from 68", []string{"--mtu", "10"}},
		{"servers", "no room", []string{"--servers", "300"}},
		{"subnet", "invalid argument", []string{"--subnet", "10.0.0.0"}},
		{"name", "invalid argument", []string{"../x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, errs, code := b.run(append([]string{"up"}, tt.args...)...)
			if code != 1 || !strings.Contains(errs, tt.want) {
				t.Errorf("exit code %d, %q; want 1, %q", code, errs, tt.want)
			}
		})
	}
	if entries, err := os.ReadDir(filepath.Join(b.dir, "vsnat-lab")); err != nil || len(entries) != 0 {
		t.Errorf("state directories left: %v, %v", entries, err)
	}
}

func TestListShowsLabsThatLive(t *testing.T) {
	b := newBed(t)
	b.ok("up", "one", "--no-page", "--no-director", "--servers", "1")
	b.ok("up", "two", "--no-page", "--no-director", "--servers", "2")
	var labs []State
	if err := json.Unmarshal([]byte(b.ok("list", "--json")), &labs); err != nil {
		t.Fatal(err)
	}
	if len(labs) != 2 || labs[0].Name != "one" || labs[1].Name != "two" {
		t.Errorf("list: %+v", labs)
	}
	if _, errs, code := b.run("down"); code != 1 || !strings.Contains(errs, "one, two") {
		t.Errorf("down without a name: exit code %d, %q", code, errs)
	}
	b.ok("down", "one")
	if out := b.ok("list"); strings.Contains(out, "one") || !strings.Contains(out, "two") {
		t.Errorf("list:\n%s", out)
	}
}
