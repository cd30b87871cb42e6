package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"vsnat/cmd/vsnat/internal/examples"
)

// TestExplainFileExample holds the example of docs/explain.md that asks a file to
// what the verb prints of the file that stands there.
func TestExplainFileExample(t *testing.T) {
	path := filepath.Join(root, "docs/explain.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	_, file, _ := strings.Cut(string(text), "With this file\n")
	file, _, _ = strings.Cut(file, "```")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "web.toml"), []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	examples.Hold(t, path, *update, func(command string) (string, bool) {
		if !strings.Contains(command, "-c web.toml") {
			return "", false
		}
		return explainWords(t, strings.Fields(strings.Replace(command, "web.toml", filepath.Join(dir, "web.toml"), 1))[2:]...), true
	})
}

// explainWords runs vsnat explain, which must not be refused.
func explainWords(t *testing.T, args ...string) string {
	t.Helper()
	out, err := runExplain(args...)
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return out
}

func runExplain(args ...string) (string, error) {
	var out strings.Builder
	cmd := rootCommand()
	cmd.SetArgs(append([]string{"explain"}, args...))
	cmd.SetOut(&out)
	cmd.SetErr(&out)
	err := cmd.Execute()
	return out.String(), err
}

func TestExplainRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "x.toml")
	if err := os.WriteFile(file, []byte("[service.web]\nlisten = \"192.0.2.1:80\"\nserver = [\"10.0.0.11\"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ args, want string }{
		{"192.0.2.7 192.0.2.1:80", "invalid argument \"192.0.2.7\": ADDRESS:PORT"},
		{"192.0.2.7:1 192.0.2.1:80 icmp", "invalid argument: protocol \"icmp\" is none of tcp, udp, sctp"},
		{"192.0.2.7:1 [2001:db8::1]:80", "invalid argument: 192.0.2.7 and 2001:db8::1 are of different address families"},
		{"192.0.2.7:1 [::ffff:192.0.2.1]:80", "IPv4-mapped: write it as IPv4"},
		{"192.0.2.7:1 192.0.2.1:80 --flags quick", "flag \"quick\" is none of fin, syn, rst, psh, ack, urg"},
		{"192.0.2.7:1 192.0.2.1:80 udp --flags ack", "flags are TCP's"},
		{"192.0.2.7:1 192.0.2.1:80 --if-down web", "server \"web\" is neither ADDRESS nor ADDRESS:PORT"},
		{"192.0.2.7:1 192.0.2.1:80 --if-down 10.0.0.99", "has the server 10.0.0.99: there is 10.0.0.11:80"},
		{"192.0.2.7:1 192.0.2.1:80 -c " + file + "x", "no such file"},
		{"192.0.2.7:1", "accepts between 2 and 3"},
	} {
		args := strings.Fields(c.args)
		if !strings.Contains(c.args, "-c ") {
			args = append(args, "-c", file)
		}
		if _, err := runExplain(args...); err == nil || !strings.Contains(err.Error(), c.want) || strings.HasSuffix(err.Error(), ": invalid argument") {
			t.Errorf("%s: %v, want %q", c.args, err, c.want)
		}
	}
}
