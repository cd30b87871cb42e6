package lab

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "lab-test-director":
			os.Exit(fakeDirector())
		case "lab-test-refused":
			os.Exit(runRefused())
		}
	}
	// A race-detecting program sleeps for a second when it exits, and these tests
	// run themselves many times.
	os.Setenv("GORACE", os.Getenv("GORACE")+" atexit_sleep_ms=0")
	Main(m)
}

// needNamespaces skips a test that cannot run here.
func needNamespaces(t *testing.T) {
	t.Helper()
	if why := Missing(); why != "" {
		t.Skip(why)
	}
}

// paper returns the paper's topology.
func paper(t *testing.T, o PaperOptions) Topology {
	t.Helper()
	top, err := Paper(o)
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// newCluster builds a cluster for the length of the test.
func newCluster(t *testing.T, top Topology) *Cluster {
	t.Helper()
	needNamespaces(t)
	c, err := New(t.Context(), top)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// dialTimeout is long enough for any machine, and ends a test that would hang.
func dialTimeout(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestClientReachesServersThroughDirector(t *testing.T) {
	for _, tt := range []struct{ name, server string }{
		{"ipv4", "10.0.100.15:7"},
		{"ipv6", "[fd00:100::15]:7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCluster(t, paper(t, PaperOptions{Forward: true, IPv6: true}))
			ln, err := c.Host("server4").Listen("tcp", ":7")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			from := make(chan string, 1)
			go func() {
				conn, err := ln.Accept()
				if err != nil {
					from <- err.Error()
					return
				}
				from <- conn.RemoteAddr().String()
				io.Copy(conn, conn)
				conn.Close()
			}()
			conn, err := c.Host("client").Dial(dialTimeout(t), "tcp", tt.server)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			io.WriteString(conn, "hello")
			buf := make([]byte, 5)
			if _, err := io.ReadFull(conn, buf); err != nil || string(buf) != "hello" {
				t.Errorf("echo: %q, %v", buf, err)
			}
			if got, want := <-from, conn.LocalAddr().String(); got != want {
				t.Errorf("the server sees %s, the client is %s", got, want)
			}
		})
	}
}

func TestDirectorDoesNotForwardUnlessTold(t *testing.T) {
	c := newCluster(t, paper(t, PaperOptions{}))
	ln, err := c.Host("server1").Listen("tcp", ":7")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	// The director itself reaches the server, so the link is there.
	conn, err := c.Host("director").Dial(dialTimeout(t), "tcp", "10.0.100.11:7")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if conn, err := c.Host("client").Dial(ctx, "tcp", "10.0.100.11:7"); err == nil {
		conn.Close()
		t.Error("the client reached the server with ip_forward=0")
	}
}

func TestNICsAreAsTheTopologySays(t *testing.T) {
	top := paper(t, PaperOptions{MTU: 1400})
	c := newCluster(t, top)
	for _, l := range top.Links {
		for _, e := range []End{l.A, l.B} {
			n, err := c.Host(e.Host).NIC(e.NIC)
			if err != nil {
				t.Fatal(err)
			}
			if n.MTU != 1400 || n.MAC.String() != MAC(top.Name, e).String() {
				t.Errorf("%v: MTU %d, MAC %v; want 1400, %v", e, n.MTU, n.MAC, MAC(top.Name, e))
			}
		}
	}
	if _, err := c.Host("client").NIC("eth7"); err == nil {
		t.Error("the client has a NIC eth7")
	}
}

func TestCommandRunsInsideHost(t *testing.T) {
	c := newCluster(t, paper(t, PaperOptions{}))
	out, err := c.Host("server2").Command(t.Context(), "readlink", "/proc/self/ns/net").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(string(out)), c.Host("server2").Namespace(); got != want {
		t.Errorf("command ran in %s, want %s", got, want)
	}
	// /sys shows the host's own NICs.
	out, err = c.Host("server2").Command(t.Context(), "ls", "/sys/class/net").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "server2-0") {
		t.Errorf("/sys/class/net: %q, %v", out, err)
	}
	err = c.Host("server2").Command(t.Context(), "sh", "-c", "exit 7").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("exit code 7: got %v", err)
	}
}

func TestCloseKillsEvenGrandchildren(t *testing.T) {
	needNamespaces(t)
	c, err := New(t.Context(), paper(t, PaperOptions{}))
	if err != nil {
		t.Fatal(err)
	}
	// A daemon in a session of its own, whose parent has ended long since.
	out, err := c.Host("client").Command(t.Context(), "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	child := c.Host("client").Command(t.Context(), "sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	inside := map[string]bool{c.Host("client").Namespace(): true}
	if pids, err := processesIn(inside); err != nil || len(pids) < 2 {
		t.Fatalf("processes in the client before Close: %v, %v; want two (the shell said %s)", pids, err, out)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if pids, err := processesIn(inside); err != nil || len(pids) != 0 {
		t.Errorf("processes in the client after Close: %v, %v", pids, err)
	}
	err = child.Wait()
	if ws, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.Signal() != syscall.SIGKILL {
		t.Errorf("the child ended with %v, want SIGKILL", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if err := c.Host("client").Command(t.Context(), "true").Run(); err == nil {
		t.Error("a command started in a closed cluster")
	}
}

func TestNewLeavesNothingBehindWhenItFails(t *testing.T) {
	needNamespaces(t)
	top := paper(t, PaperOptions{})
	top.Routes = append(top.Routes, Route{Host: "client", To: top.Routes[0].To, Via: top.Addr("server1")})
	threads := countThreadNamespaces(t)
	c, err := New(t.Context(), top)
	if err == nil {
		c.Close()
		t.Fatal("a route through a gateway that is not on-link was taken")
	}
	if !strings.Contains(err.Error(), "client") {
		t.Errorf("the error does not name the host: %v", err)
	}
	waitFor(t, "threads in namespaces that are gone", func() bool { return countThreadNamespaces(t) == threads })
}

// countThreadNamespaces counts the network namespaces of this process's threads.
func countThreadNamespaces(t *testing.T) int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, task := range tasks {
		if ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil {
			seen[ns] = true
		}
	}
	return len(seen)
}

// waitFor waits for what the kernel does in its own time.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still not so after 10 s: %s", what)
		}
	}
}
