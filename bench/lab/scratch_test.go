package lab

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestScratchOfKilledLabsIsRemoved(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	alive, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	killed, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed.path, "director.log"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	killed.lock.Close() // as the kernel does with a killed process
	other := filepath.Join(os.TempDir(), "something-else")
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}

	next, err := newScratch()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(killed.path); !os.IsNotExist(err) {
		t.Errorf("the killed lab's directory is still there: %v", err)
	}
	for _, path := range []string{alive.path, next.path, other} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	for _, s := range []*scratch{alive, next} {
		if err := s.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(s.path); !os.IsNotExist(err) {
			t.Errorf("%s is still there: %v", s.path, err)
		}
	}
}

// Labs that start at the same time do not take each other's directory.
func TestScratchInParallel(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 20 {
				s, err := newScratch()
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := os.Stat(s.path); err != nil {
					t.Error(err)
				}
				if err := s.remove(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if left, _ := os.ReadDir(os.TempDir()); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}
