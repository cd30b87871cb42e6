package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// imports is who may import whom among vsnat's own packages. The first pattern
// that matches a package rules it; "std" in what it may import stands for the
// standard library, which all have. A pattern is as of path.Match, or ends in
// /** for a package and everything below it.
var imports = []struct {
	pkg  string
	may  []string // own packages
	libs []string // other modules; nil with any means all
	any  bool
}{
	{pkg: "vsnat/nat/wire", libs: pure},
	{pkg: "vsnat/sched/**", may: []string{"vsnat/sched"}, libs: pure},
	{pkg: "vsnat/conntrack", may: []string{"vsnat/conntrack/arena", "vsnat/conntrack/state", "vsnat/conntrack/wheel"}, libs: pure},
	{pkg: "vsnat/conntrack/*", libs: pure},
	{pkg: "vsnat/nic", libs: pure},
	{pkg: "vsnat/nic/netns", libs: pure},
	{pkg: "vsnat/nic/neigh", may: []string{"vsnat/nic", "vsnat/nic/netns", "vsnat/nat/wire"}, any: true},
	{pkg: "vsnat/nic/merge", may: []string{"vsnat/nic", "vsnat/nat/wire"}, libs: pure},
	{pkg: "vsnat/nic/**", may: []string{"vsnat/nic", "vsnat/nic/netns"}, any: true},
	{pkg: "vsnat/nat/*", may: []string{"vsnat/nat/wire", "vsnat/conntrack"}, libs: pure},
	{pkg: "vsnat/nat/sip", libs: pure},
	{pkg: "vsnat/nat/alg/*", may: []string{"vsnat/nat/alg", "vsnat/nat/wire", "vsnat/conntrack"}, libs: pure},
	{pkg: "vsnat/nat", may: []string{"vsnat/nic", "vsnat/sched", "vsnat/conntrack/**", "vsnat/nat/**"}, libs: pure},
	{pkg: "vsnat/bench/lab", may: []string{"vsnat/nic/netns"}, libs: slices.Concat(pure, []string{"github.com/vishvananda/netlink", "github.com/vishvananda/netns"})},
	{pkg: "vsnat/bench/**", may: []string{"vsnat/bench/**", "vsnat/nat/**", "vsnat/nic/**", "vsnat/sched/**", "vsnat/conntrack/**"}, any: true},
	{pkg: "vsnat/cmd/**", may: []string{"vsnat/**"}, any: true},
}

// pure are the modules that the data path may use.
var pure = []string{"golang.org/x/sys", "github.com/cespare/xxhash/v2"}

type goPackage struct {
	ImportPath string
	Doc        string
	Imports    []string
	Module     *struct{ Path string }
}

func matches(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/**"); ok {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	ok, _ := path.Match(pattern, pkg)
	return ok
}

func goList(t *testing.T, args ...string) (all []goPackage) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,Imports,Module"}, args...)...)
	cmd.Dir = "../.."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

// TestArchitecture holds the packages to the import table, and each to a
// package comment.
func TestArchitecture(t *testing.T) {
	modules := map[string]string{} // of every package that is linked
	for _, p := range goList(t, "-deps", "./...") {
		if p.Module != nil {
			modules[p.ImportPath] = p.Module.Path
		}
	}
	for _, p := range goList(t, "./...") {
		if p.Doc == "" {
			t.Errorf("%s has no package comment", p.ImportPath)
		}
		i := slices.IndexFunc(imports, func(r struct {
			pkg  string
			may  []string
			libs []string
			any  bool
		},
		) bool {
			return matches(r.pkg, p.ImportPath)
		})
		if i < 0 {
			t.Errorf("%s: no rule says what it may import", p.ImportPath)
			continue
		}
		rule := imports[i]
		for _, dep := range p.Imports {
			switch module := modules[dep]; {
			case module == "": // standard library
			case module == "vsnat":
				if !slices.ContainsFunc(rule.may, func(m string) bool { return matches(m, dep) }) {
					t.Errorf("%s imports %s; the rule for %s forbids it", p.ImportPath, dep, rule.pkg)
				}
			case !rule.any && !slices.Contains(rule.libs, module):
				t.Errorf("%s imports %s; the rule for %s forbids that module", p.ImportPath, dep, rule.pkg)
			}
		}
	}
}

// TestPureRoomsReadNoClock holds nat, sched and conntrack to doing no I/O,
// starting no goroutine and reading no clock.
func TestPureRoomsReadNoClock(t *testing.T) {
	for _, p := range goList(t, "./nat/...", "./sched/...", "./conntrack/...") {
		for _, dep := range p.Imports {
			switch dep {
			case "os", "net", "io", "log", "log/slog", "os/exec", "net/http", "bufio", "math/rand":
				t.Errorf("%s imports %s", p.ImportPath, dep)
			}
		}
		files, err := os.ReadDir("../../" + strings.TrimPrefix(p.ImportPath, "vsnat/"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
				continue
			}
			name := "../../" + strings.TrimPrefix(p.ImportPath, "vsnat/") + "/" + f.Name()
			src, err := os.Open(name)
			if err != nil {
				t.Fatal(err)
			}
			for sc := bufio.NewScanner(src); sc.Scan(); {
				line := strings.TrimSpace(sc.Text())
				if strings.HasPrefix(line, "go ") {
					t.Errorf("%s starts a goroutine: %s", name, line)
				}
				for _, call := range []string{"time.Now(", "time.Since(", "time.Until(", "time.Sleep(", "time.After(", "time.New", "time.Tick("} {
					if strings.Contains(line, call) && !strings.HasPrefix(line, "//") {
						t.Errorf("%s reads a clock: %s", name, line)
					}
				}
			}
			src.Close()
		}
	}
}
