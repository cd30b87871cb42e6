package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// eachVerb calls f for every verb, those of libraries left out.
func eachVerb(f func(*cobra.Command)) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() == "completion" || c.Name() == "help" || c.Hidden {
			return
		}
		f(c)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(rootCommand())
}

func TestEveryVerbHasHelpWithAnExample(t *testing.T) {
	eachVerb(func(c *cobra.Command) {
		if c.Short == "" || !strings.Contains(c.Example, c.CommandPath()) {
			t.Errorf("%s: no description or no example", c.CommandPath())
		}
		if f := c.Flags().Lookup("json"); f == nil && strings.Contains(c.Example, "--json") {
			t.Errorf("%s: the example has an option that there is not", c.CommandPath())
		}
	})
}

func TestTablesHaveJSON(t *testing.T) {
	for _, name := range []string{
		"status", "drops", "latency", "conns", "server", "set", "mark", "service life", "plan", "reload", "check", "lab list", "lab status",
	} {
		c, rest, err := rootCommand().Find(strings.Fields(name))
		if err != nil || len(rest) > 0 || c.Flags().Lookup("json") == nil {
			t.Errorf("vsnat %s has no --json: %v", name, err)
		}
	}
	for _, name := range []string{"status", "drops", "latency", "conns", "server"} {
		if c, _, err := rootCommand().Find([]string{name}); err != nil || c.Flags().Lookup("watch") == nil {
			t.Errorf("vsnat %s has no --watch: %v", name, err)
		}
	}
}

// asVsnat has the test binary be vsnat.
const asVsnat = "VSNAT_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asVsnat) != "" {
		main()
	}
	os.Exit(m.Run())
}

// TestExitCodes starts the program: 0 done, 1 refused, 2 usage.
func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"--version", 0, "vsnat version"},
		{"status --help", 0, "vsnat status --json"},
		{"check ../../docs/vsnat.toml", 0, "good"},
		{"check /dev/null", 0, "good"},
		{"check /nonexistent.toml", 1, "nonexistent.toml"},
		{"import /dev/null", 1, ""},
		{"status", 1, "vsnat is not running"},
		{"plan", 1, "vsnat is not running"},
		{"nosuch", 2, "Try 'vsnat --help'"},
		{"status extra", 2, "Try 'vsnat status --help'"},
		{"status --nosuch", 2, "unknown flag"},
		{"status --watch=1ms", 2, "--watch"},
		{"check", 2, "it is `vsnat check FILE [flags]'"},
		{"explain 192.0.2.7:1", 2, "it is `vsnat explain CIP:PORT VIP:PORT"},
		{"mark add x", 2, "invalid argument"},
		{"server drain -t 192.0.2.1:80", 2, "-r ADDRESS"},
		{"server -6 -t 192.0.2.1:80", 2, "-6 goes with -f"},
		{"set a=b", 2, "is no number"},
		{"reload --confirm 1ms", 2, "--confirm"},
		{"service", 0, "life"},
		{"service life -t 192.0.2.1:80 bogus", 2, "PRESET is one of"},
		{"service life -t 192.0.2.1:80 drain.new=bogus", 2, "ACTION is one of"},
		{"service life -t 192.0.2.1:80 drain.new=keep,move drain.deadline=1m", 1, "not running"},
		{"trace --sample 0", 2, "--sample"},
		{"bench path --out /nonexistent/x", 1, "cannot be written"},
		{"bench engine --out /nonexistent/x", 1, "cannot be written"},
		{"bench paper --json /nonexistent/x", 1, "cannot be written"},
		{"bench scale --docs /nonexistent", 2, "no scale.md"},
		{"run -i nosuch0 --budget=-1s", 2, "--budget"},
		{"run -i nosuch0 --budget 0", 2, "--budget"},
		{"top", 1, "needs a terminal"},
		{"ipvsadm -h", 0, "Usage"},
		{"ipvsadm -A", 2, "not running"},
		{"ipvsadm --nosuch", 2, "not running"},
	} {
		cmd := exec.Command(os.Args[0], strings.Fields(c.args)...)
		cmd.Env = append(os.Environ(), asVsnat+"=1", "VSNAT_SOCKET="+t.TempDir()+"/none")
		out, err := cmd.CombinedOutput()
		if cmd.ProcessState == nil {
			t.Fatal(err)
		}
		if code := cmd.ProcessState.ExitCode(); code != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("vsnat %s: exit code %d, want %d\n%s", c.args, code, c.code, out)
		}
	}
}
