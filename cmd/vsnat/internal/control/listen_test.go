package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// left lists what is in a socket's folder.
func left(t *testing.T, path string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Lstat(path); err != nil || fi.Mode() != fs.ModeSocket|0o600 {
		t.Errorf("socket: %v, %v", fi.Mode(), err)
	}
	want := fmt.Sprintf("control: another vsnat (process %d) has the socket %s: stop it, or set VSNAT_SOCKET to another path", os.Getpid(), path)
	if _, err := Listen(path); err == nil || err.Error() != want {
		t.Errorf("second: %v, want %s", err, want)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if names := left(t, path); len(names) > 0 {
		t.Errorf("after Close there are %v", names)
	}
	first := l
	if l, err = Listen(path); err != nil {
		t.Fatal(err)
	}
	// To close twice takes nothing from whoever has the socket now.
	if err := first.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
	// Whatever stands at the path by now is not ours to remove.
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if names := left(t, path); len(names) != 1 || names[0] != "s" {
		t.Errorf("after Close beside another's file there are %v", names)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("over a file: %v", err)
	}
}

// TestListenForeign checks that a socket of a program without our lock is
// left alone while it answers.
func TestListenForeign(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	foreign, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer foreign.Close()
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "another program answers there") {
		t.Errorf("Listen: %v", err)
	}
	if names := left(t, path); len(names) != 1 {
		t.Errorf("there are %v", names)
	}
}

func TestListenBadPath(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 108))
	if _, err := Listen(long); err == nil || !strings.Contains(err.Error(), "set VSNAT_SOCKET to a shorter one") {
		t.Errorf("long path: %v", err)
	}
	if _, err := Listen(filepath.Join(t.TempDir(), "none", "s")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// TestListenRace checks that of many that begin and end at once one at a time
// has the socket, and that it can be reached while it has it.
func TestListenRace(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	var mu sync.Mutex
	holders, wins := 0, 0
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				l, err := Listen(path)
				if err != nil {
					if !strings.Contains(err.Error(), "another vsnat") {
						t.Error(err)
					}
					continue
				}
				mu.Lock()
				holders++
				wins++
				if holders != 1 {
					t.Errorf("%d have the socket", holders)
				}
				mu.Unlock()
				// Nobody accepts those who only ask who has the socket: they may be many.
				if c, err := net.Dial("unix", path); err != nil && !errors.Is(err, syscall.EAGAIN) {
					t.Error(err)
				} else if err == nil {
					c.Close()
				}
				mu.Lock()
				holders--
				mu.Unlock()
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if wins == 0 {
		t.Error("nobody got the socket")
	}
	if names := left(t, path); len(names) > 0 {
		t.Errorf("afterwards there are %v", names)
	}
}

// TestListenAfterKill checks that the socket of a process that was killed is
// replaced. The process is this test again, which listens and waits.
func TestListenAfterKill(t *testing.T) {
	const variable = "CONTROL_TEST_LISTEN"
	if path := os.Getenv(variable); path != "" {
		if _, err := Listen(path); err != nil {
			t.Fatal(err)
		}
		fmt.Println("listening")
		select {}
	}
	path := filepath.Join(t.TempDir(), "s")
	cmd := exec.Command(os.Args[0], "-test.run=^TestListenAfterKill$")
	cmd.Env = append(os.Environ(), variable+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Process.Kill()
	if _, err := fmt.Fscanln(out, new(string)); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("process %d", cmd.Process.Pid)) {
		t.Errorf("while it lives: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if len(left(t, path)) != 2 {
		t.Fatalf("it left %v", left(t, path))
	}
	l, err := Listen(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

// The socket is its owner's alone, or also a group's.
func TestListenMode(t *testing.T) {
	for _, group := range []int{NoGroup, os.Getgid()} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := ListenGroup(path, group)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		fi, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o600)
		if group != NoGroup {
			want = 0o660
		}
		if got := fi.Mode().Perm(); got != want || fi.Sys().(*syscall.Stat_t).Gid != uint32(os.Getgid()) {
			t.Errorf("group %d: mode %o, want %o; %+v", group, got, want, fi.Sys())
		}
	}
}
