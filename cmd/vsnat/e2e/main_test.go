package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"vsnat/bench/lab"
)

// binDir names the variable with the directory of the program under test. It
// tells lab.Main's second start of this test binary, in a user namespace, that
// the program is built already.
const binDir = "VSNAT_E2E_BIN"

func TestMain(m *testing.M) {
	if os.Getenv(binDir) == "" {
		dir, err := build()
		if err != nil {
			fmt.Fprintln(os.Stderr, "e2e:", err)
			os.Exit(1)
		}
		os.Setenv(binDir, dir)
	}
	lab.Main(tests{m})
}

// tests is what lab.Main runs, in this process or a second one.
type tests struct{ m *testing.M }

func (t tests) Run() int {
	defer os.RemoveAll(os.Getenv(binDir))
	return t.m.Run()
}

// build makes the program, and ipvsadm as a link to it, in a new directory.
func build() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "vsnat-e2e-"); err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(dir)
		}
	}()
	cmd := exec.Command("go", "build", "-o", filepath.Join(dir, "vsnat"), "vsnat/cmd/vsnat")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build vsnat/cmd/vsnat: %w\n%s", err, out)
	}
	return dir, os.Symlink("vsnat", filepath.Join(dir, "ipvsadm"))
}

// bin returns the path of the program under test by one of its names.
func bin(name string) string { return filepath.Join(os.Getenv(binDir), name) }
