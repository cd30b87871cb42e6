package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"vsnat/bench"
	"vsnat/bench/lab"
)

// benchPatience bounds a run of seconds.
const benchPatience = 2 * time.Minute

// TestBenchPath has all peers do all quick loads once. Of the figures it asks
// only that they are there.
func TestBenchPath(t *testing.T) {
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	ctx, cancel := context.WithTimeout(t.Context(), benchPatience)
	defer cancel()
	file := filepath.Join(t.TempDir(), "path.json")
	cmd := exec.CommandContext(ctx, bin("vsnat"), "bench", "path", "--quick", "--rounds", "1", "--out", file)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if !strings.Contains(string(out), "\nTARGET ") {
		t.Errorf("no targets in\n%s", out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var r bench.PathResult
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if want := len(r.Loads)*(len(r.Peers)-1) + 1; len(r.Turns) != want || len(r.Loads) != 6 {
		t.Errorf("%d turns of %d loads, want %d of 6", len(r.Turns), len(r.Loads), want)
	}
	for _, turn := range r.Turns {
		if turn.Error != "" || turn.Rate <= 0 || turn.Cost.Sum() <= 0 {
			t.Errorf("%s by %s: rate %v, cost %v, %s %v", turn.Load, turn.Peer, turn.Rate, turn.Cost, turn.Error, turn.Result.Errors)
		}
	}
}

// TestBenchPathInterrupted ends a run in its middle: nothing of it stays.
func TestBenchPathInterrupted(t *testing.T) {
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	dir := t.TempDir()
	cmd := exec.Command(bin("vsnat"), "bench", "path", "--rounds", "1000", "--loads", "udp-1k", "--window", "100ms")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(benchPatience, func() { cmd.Process.Kill() })
	defer kill.Stop()
	var said strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(said.String(), ": vsnat"); {
		n, err := stderr.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v: %s", err, said.String())
		}
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stderr)
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v after an interrupt", err)
	}
	if want := "done; there are no figures, and nothing is left behind"; !strings.Contains(string(rest), "interrupted: round 1 of 1000: ") || !strings.Contains(string(rest), want) {
		t.Errorf("after an interrupt it says %q", rest)
	}
	left, err := filepath.Glob(dir + "/*")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	// Every process of the run has that variable, and the run has waited for
	// the end of all of them.
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range environs {
		if b, err := os.ReadFile(name); err == nil && strings.Contains(string(b), "TMPDIR="+dir) {
			t.Errorf("%s still runs", name)
		}
	}
}

// TestBenchPaperLosesAServer kills a page server in the midst of the experiment:
// what was measured is reported, and the server named.
func TestBenchPaperLosesAServer(t *testing.T) {
	if why := lab.Missing(); why != "" {
		t.Skip(why)
	}
	ctx, cancel := context.WithTimeout(t.Context(), benchPatience)
	defer cancel()
	dir := t.TempDir()
	cmd := exec.CommandContext(ctx, bin("vsnat"), "bench", "paper", "--requests", "400")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// Once the first server is asked directly, all of them are there.
	var said strings.Builder
	for buf := make([]byte, 4096); !strings.Contains(said.String(), "one real server"); {
		n, err := stderr.Read(buf)
		said.Write(buf[:n])
		if err != nil {
			t.Fatalf("%v: %s", err, said.String())
		}
	}
	if !killOwn(t, "TMPDIR="+dir, "10.0.100.12") {
		t.Fatal("there is no page server of 10.0.100.12")
	}
	out, errOut := io.ReadAll(stdout)
	rest, errErr := io.ReadAll(stderr)
	if err := errors.Join(errOut, errErr); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("%v after a server was killed", err)
	}
	for _, want := range []string{"Table III", "10.0.100.12      not known:\n    the page server of server2 has ended (signal: killed)", "What became of every frame"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if want := "page server of server2 has ended"; !strings.Contains(string(rest), want) {
		t.Errorf("no %q in\n%s", want, rest)
	}
}

// killOwn kills the processes that have the variable in their environment and the
// word in their command line.
func killOwn(t *testing.T, variable, word string) (any bool) {
	t.Helper()
	environs, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range environs {
		dir := filepath.Dir(name)
		env, errEnv := os.ReadFile(name)
		line, errLine := os.ReadFile(dir + "/cmdline")
		if errEnv != nil || errLine != nil || !strings.Contains(string(env), variable+"\x00") || !strings.Contains(string(line), word+"\x00") {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			t.Fatal(err)
		}
		any = syscall.Kill(pid, syscall.SIGKILL) == nil || any
	}
	return any
}
