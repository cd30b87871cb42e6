package config

import (
	"io"
	"os"
	"testing"
)

// Whatever is in a file, reading it ends, every problem has its place, and what
// has no errors makes services that are complete.
func FuzzParse(f *testing.F) {
	reference, err := os.ReadFile("../../../../docs/vsnat.toml")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{
		string(reference),
		"[service.web]\nlisten = \"192.0.2.1:80\"\nserver = [\"10.0.0.1\", { address = \"[fd00::1]:80\" }]\n",
		"[[service.web.server]]\n[service.web]\n[service.web]\n",
		"a.b.c = { d = [1, [2, { e = 3 }]], f.g = 1 }\n[a.b]\n[[a.b.c]]\n",
		"x = \n[y]\nz = \"\"\"\n[x]\n",
		"\"\\u00e4\" = '''x'''\r\n\t[[ \"a b\" . c ]]",
		"[settings]\nnet.ipv4.vs = 1\nnet.ipv4.vs.x = 1979-05-27T07:32:00Z",
		"[service]\nx = [[[[]]]]\ny.server = {address={}}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		_, problems := Parse(File{"a.toml", text}, File{"b.toml", text})
		lastLine := map[string]int{}
		for _, p := range problems {
			if p.Line < lastLine[p.File] || p.Line < 1 || p.Column < 1 || p.Message == "" {
				t.Fatalf("%s comes after line %d", &p, lastLine[p.File])
			}
			lastLine[p.File] = p.Line
		}
		problems.Print(io.Discard)
		cfg, problems := Parse(File{"a.toml", text})
		if len(problems.Errors()) > 0 {
			return
		}
		for _, v := range cfg.Virtuals() {
			if v.Family == "" || v.Scheduler == "" || v.FWMark == 0 && (!v.Address.IsValid() || v.Protocol.Number() == 0) {
				t.Fatalf("%+v is not complete", v)
			}
			for _, s := range v.Servers {
				if !s.Address.IsValid() || s.Method == "" || s.LThreshold > s.UThreshold {
					t.Fatalf("%+v is not complete", s)
				}
			}
		}
	})
}
