package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra/doc"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/cmd/vsnat/internal/daemon"
	"vsnat/cmd/vsnat/internal/openapi"
	"vsnat/cmd/vsnat/internal/plan"
)

// update has the tests write what they would compare: `make docs'.
var update = flag.Bool("update", false, "write the files that are made of the program")

// root is the module's directory, from here.
const root = "../.."

// madeOf compares a file with what the program makes of itself.
func madeOf(t *testing.T, path string, want []byte) {
	t.Helper()
	path = filepath.Join(root, path)
	have, err := os.ReadFile(path)
	if err == nil && bytes.Equal(have, want) {
		return
	}
	if !*update {
		t.Errorf("%s is out of date: run `make docs'", path)
		return
	}
	if err := os.WriteFile(path, want, 0o644); err != nil {
		t.Error(err)
	}
}

// describe returns the description of the control API.
func describe(t *testing.T) []byte {
	t.Helper()
	b, err := openapi.Describe(control.Endpoints(), openapi.Options{
		Version: daemon.Version, Root: root,
		Reports: map[string]any{"status": daemon.Status{}, "drops": daemon.Drops{}, "latency": daemon.Latency{}, "plan": plan.Plan{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDescriptionIsUpToDate(t *testing.T) {
	madeOf(t, "cmd/vsnat/internal/control/openapi.json", describe(t))
}

// TestManPagesAreUpToDate makes a page of every verb's help.
func TestManPagesAreUpToDate(t *testing.T) {
	dir := t.TempDir()
	// What changes with the day, or with the machine's socket, is left out.
	t.Setenv("VSNAT_SOCKET", "")
	undated := time.Unix(0, 0).UTC()
	header := &doc.GenManHeader{Title: "VSNAT", Section: "1", Date: &undated, Source: "vsnat " + daemon.Version, Manual: "vsnat"}
	cmd := rootCommand()
	cmd.DisableAutoGenTag = true
	if err := doc.GenManTreeFromOpts(cmd, doc.GenManTreeOptions{Header: header, Path: dir, CommandSeparator: "-"}); err != nil {
		t.Fatal(err)
	}
	made := map[string]bool{}
	pages, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(filepath.Join(dir, page.Name()))
		if err != nil {
			t.Fatal(err)
		}
		made[page.Name()] = true
		madeOf(t, filepath.Join("docs/man", page.Name()), bytes.Replace(text, []byte(undated.Format("Jan 2006")), nil, 1))
	}
	have, err := os.ReadDir(filepath.Join(root, "docs/man"))
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range have {
		switch {
		case made[page.Name()]:
		case !*update:
			t.Errorf("docs/man/%s is of no verb: run `make docs'", page.Name())
		default:
			if err := os.Remove(filepath.Join(root, "docs/man", page.Name())); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestAPIDocument holds docs/api.md to the endpoints that there are.
func TestAPIDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs/api.md"))
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		if cells := strings.Split(line, "|"); len(cells) > 2 && strings.HasPrefix(strings.TrimSpace(cells[1]), "`") {
			told[strings.Trim(cells[1], " `")] = true
		}
	}
	for _, e := range control.Endpoints() {
		name := e.Method + " /v1/" + e.Path
		if !told[name] {
			t.Errorf("docs/api.md does not tell of %s", name)
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("docs/api.md tells of %s, which there is not", name)
	}
}
