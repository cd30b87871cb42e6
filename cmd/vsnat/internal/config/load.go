package config

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vsnat/cmd/vsnat/internal/control"
)

// maxFile bounds what is read, in bytes: a file of 100,000 servers has some 5 MB.
const maxFile = 64 << 20

// File is a file with its text.
type File struct {
	Name string // as problems call it
	Text []byte
}

// Load reads the file at path, or if it is a directory all its *.toml files in
// the order of their names as if they were one. The error is of the system, or
// [Problems]; warnings come with a Config.
func Load(path string) (*Config, Problems, error) {
	files, err := ReadFiles(path)
	if err != nil {
		return nil, nil, err
	}
	cfg, problems := Parse(files...)
	if errs := problems.Errors(); len(errs) > 0 {
		return nil, problems, errs
	}
	return cfg, problems, nil
}

// ReadFiles returns the file at path, or the files of a directory, as [Load] reads
// them.
func ReadFiles(path string) ([]File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("config: %w", err)
	}
	names := []string{path}
	if info.IsDir() {
		if names, err = filepath.Glob(filepath.Join(escapeGlob(path), "*.toml")); err != nil {
			return nil, fmt.Errorf("config: %s: %w", path, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("config: %s has no files *.toml", path)
		}
		slices.Sort(names)
	}
	files := make([]File, len(names))
	for i, name := range names {
		if info, err := os.Stat(name); err == nil && info.Size() > maxFile {
			return nil, fmt.Errorf("config: %s is larger than %d bytes", name, maxFile)
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("config: %w", err)
		}
		files[i] = File{name, text}
	}
	return files, nil
}

// escapeGlob returns a path as a pattern that only it matches.
func escapeGlob(path string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(path)
}

// Parse reads files as if they were one, and returns what is wrong with them,
// sorted by place. With errors the Config is not to be used.
func Parse(files ...File) (*Config, Problems) {
	var ps problems
	g := grower{problems: &ps, root: newTable(span{})}
	for i, f := range files {
		g.file(newSource(f.Name, i, f.Text))
	}
	r := reader{
		seen:     map[netip.AddrPort]span{},
		problems: &ps, cfg: &Config{Drift: KeepDrift}, broken: g.broken, defaults: firstOptions(),
		services: map[string]span{}, marks: map[uint32]span{}, ruleAt: map[control.MarkRule]span{}, addresses: map[string]span{},
		pools: map[string]span{}, networks: map[netip.Prefix]span{},
	}
	r.root(g.root)
	return r.cfg, ps.sorted()
}

// home tells where a key belongs that stands in another table.
var home = map[string]string{
	"nics": "[director]", "guard": "[director]", "max_conns": "[director]", "threads": "[director]", "queues": "[director]", "spin": "[director]", "merge": "[director]", "budget": "[director]",
	"socket": "[director]", "socket_group": "[director]", "drift": "[director]",
	"tcp_fin": "[timeouts]",
	"listen":  "[service.NAME]", "scheduler": "[service.NAME] or [defaults]", "persistent": "[service.NAME] or [defaults]",
	"weight": "a server, [service.NAME] or [defaults]", "method": "a server, [service.NAME] or [defaults]",
	"server": "[service.NAME]", "service": "the file itself: [service.NAME]",
	"src": "[[mark]]", "dst": "[[mark]]", "announce": "[[address]]",
}

// root reads the whole tree.
func (r *reader) root(t *node) {
	// What services inherit is read before them.
	if e := t.get("defaults"); e != nil {
		if d, ok := r.asTable(e); ok {
			r.table(d, "[defaults]", r.optionFields(d, &r.defaults))
			r.checkDefaults(d)
		}
	}
	r.table(t, "the file", fields{
		"director":   r.director,
		"defaults":   nil,
		"timeouts":   r.timeouts,
		"settings":   r.settings,
		"mark":       r.markRules,
		"pool":       r.poolTables,
		"helpers":    r.helpers,
		"masquerade": r.masqueradeTables,
		"address":    r.addressTables,
		"service":    r.serviceTables,
	})
	r.checkMarks()
	r.checkPools()
	if r.measured > control.MostMeasured {
		r.errorf(r.overAt, "%d services want latency = true, and the director keeps records of at most %d: leave it out where it is of less interest",
			r.measured, control.MostMeasured)
	}
}

// checkDefaults checks what [defaults] itself says together.
func (r *reader) checkDefaults(t *node) {
	o := r.defaults // what follows fills in defaults that a service need not have
	r.checkScheduler(t, &o)
	r.checkPersistence(t, &o)
	r.checkServer([]*node{t}, span{}, &o.server)
}

// director reads [director].
func (r *reader) director(e *entry) {
	t, ok := r.asTable(e)
	if !ok {
		return
	}
	d := &r.cfg.Director
	r.table(t, "[director]", fields{
		"nics": func(e *entry) {
			r.each(e, func(n *node) {
				if name, ok := r.nic(n); ok {
					if slices.Contains(d.NICs, name) {
						r.errorf(n.at, "NIC %s is there already", name)
						return
					}
					d.NICs = append(d.NICs, name)
				}
			})
		},
		"guard": func(e *entry) {
			if s, ok := r.oneOf(e.value, "guard", []string{"auto", "tcx", "nft", "off"}); ok {
				d.Guard = s
			}
		},
		"max_conns": func(e *entry) {
			if v, ok := r.number(e.value, 1, maxConns); ok {
				d.MaxConns = int(v)
			}
		},
		"threads": func(e *entry) {
			if v, ok := r.number(e.value, 1, MaxThreads); ok {
				d.Threads = int(v)
			}
		},
		"queues": func(e *entry) {
			if v, ok := r.number(e.value, 1, MaxThreads); ok {
				d.Queues = int(v)
			}
		},
		"spin": func(e *entry) {
			if v, ok := r.duration(e.value, 1, 0, time.Second); ok {
				d.Spin = &v
			}
		},
		"merge": func(e *entry) {
			if v, ok := r.bool(e.value); ok {
				d.Merge = v
			}
		},
		"budget": func(e *entry) {
			if v, ok := r.duration(e.value, 1, time.Microsecond, time.Second); ok {
				d.Budget = v
			}
		},
		"socket": func(e *entry) {
			if s, ok := r.text(e.value, `a path, such as "/run/vsnat.sock"`); ok {
				if d.Socket = s; !filepath.IsAbs(s) {
					r.errorf(e.value.at, "%q is no absolute path", s)
				}
			}
		},
		"socket_group": func(e *entry) {
			if s, ok := r.text(e.value, "the name of a group"); ok {
				d.SocketGroup = s
			}
		},
		"drift": func(e *entry) {
			if s, ok := r.oneOf(e.value, "way to deal with drift", []string{string(KeepDrift), string(UndoDrift)}); ok {
				r.cfg.Drift = Drift(s)
			}
		},
	})
}

// nic reads the name of a NIC.
func (r *reader) nic(n *node) (string, bool) {
	s, ok := r.text(n, `the name of a NIC, such as "eth0"`)
	if !ok {
		return "", false
	}
	// As the kernel's dev_valid_name.
	if s == "" || len(s) > 15 || s == "." || s == ".." || strings.ContainsAny(s, "/: \t\n\v\f\r") {
		r.errorf(n.at, "%q cannot be the name of a NIC", s)
		return "", false
	}
	return s, true
}

// timeouts reads [timeouts].
func (r *reader) timeouts(e *entry) {
	t, ok := r.asTable(e)
	if !ok {
		return
	}
	into := func(seconds *uint32) func(*entry) {
		return func(e *entry) {
			if d, ok := r.duration(e.value, time.Second, time.Second, maxTimeout); ok {
				*seconds = uint32(d / time.Second)
			}
		}
	}
	c := &r.cfg.Timeouts
	r.table(t, "[timeouts]", fields{"tcp": into(&c.TCP), "tcp_fin": into(&c.TCPFin), "udp": into(&c.UDP)})
}

// tables calls f with each of the tables [[key]].
func (r *reader) tables(e *entry, f func(*node)) {
	if e.value.kind != kindArray {
		r.errorf(e.at, "there may be several: write [[%s]]", e.key)
		return
	}
	for _, n := range e.value.items {
		if n.kind == kindTable {
			f(n)
		} else {
			r.wrong(n, "a table: [["+e.key+"]]")
		}
	}
}
