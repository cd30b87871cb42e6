package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vsnat/bench/lab"
)

// shells run a script that prints what the shell would put for the last word of
// $1; the words that are expected follow it. The program is first in PATH.
var shells = []struct{ name, script string }{
	// The function that bash calls when the key is pressed, with what bash sets.
	{"bash", `. %[1]s
. <(vsnat completion bash)
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9 COMP_KEY=9
read -r -a COMP_WORDS <<<"${1//:/ : }"
[[ $1 == *' ' ]] && COMP_WORDS+=('')
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
__start_vsnat
printf '%%s\n' "${COMPREPLY[@]}"`},
	{"fish", `vsnat completion fish | source; complete -C $argv[1]`},
	// zsh has no way to ask: its completion runs in a terminal of its own.
	{"zsh", `zmodload zsh/zpty
zpty -b z zsh -f -i
zpty -w z 'PS1=; autoload -Uz compinit; compinit -D -u; zstyle ":completion:*" list-colors ""; . <(vsnat completion zsh); compdef _vsnat vsnat'
zpty -w z 'print ready:$((40+2))'
until [[ $line == *ready:42* ]]; do zpty -r z line; done
zpty -n -w z "$1"$'\t\t'
for word in "${@:2}"; do
	until [[ $all == *$word* ]]; do zpty -r z line; all+=$line; done
done
while zpty -t -r z line; do all+=$line; done
print -r -- "$all"`},
}

// attributes are what a terminal does not show.
var attributes = regexp.MustCompile(`\x1b\[[0-9;?]*[A-Za-z]|\r`)

// TestCompletion asks three shells for the rest of words that only the running
// director knows.
func TestCompletion(t *testing.T) {
	need(t, "bash-completion", "fish", "zsh")
	s := newSite(t, lab.PaperOptions{})
	s.direct()
	s.ipvsadm("-A -t " + vip + ":80 -s rr")
	s.ipvsadm("-A -t " + vip + ":443 -s wlc")
	s.ipvsadm("-A -u " + vip + ":53 -s rr")
	for _, ip := range []string{server1, server2} {
		s.ipvsadm("-a -t " + vip + ":80 -r " + ip + ":80 -m")
	}
	for _, shell := range shells {
		t.Run(shell.name, func(t *testing.T) {
			script := filepath.Join(t.TempDir(), "script")
			text := shell.script
			if shell.name == "bash" {
				text = fmt.Sprintf(text, find(debian["bash-completion"]))
			}
			if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			for line, want := range map[string][]string{
				"vsnat server -t ":                            {vip + ":80", vip + ":443"},
				"vsnat server drain -t " + vip + ":80 -r ":    {server1 + ":80", server2 + ":80"},
				"vsnat ipvsadm -e -t " + vip + ":80 -r ":      {server1 + ":80", server2 + ":80"},
				"vsnat ipvsadm -A -t " + vip + ":81 -s lblc":  {"lblc", "lblcr"},
				"vsnat set sloppy":                            {"sloppy_tcp", "sloppy_sctp"},
				"vsnat mark add 7 --nic ":                     {"director-0", "director-1"},
				"vsnat service life -u " + vip + ":53 fail-f": {"fail-fast"},
			} {
				argv := append([]string{"env", "PATH=" + os.Getenv(binDir) + ":" + os.Getenv("PATH"), find(shell.name), script, line}, want...)
				out := attributes.ReplaceAllString(s.must("director", argv...), " ")
				for _, w := range want {
					if !slices.ContainsFunc(strings.Fields(out), func(f string) bool { return f == w }) {
						t.Errorf("%q: no %s in %q", line, w, out)
					}
				}
				if strings.Contains(line, "drain") && strings.Contains(out, vip+":443") {
					t.Errorf("%q: %q", line, out)
				}
			}
		})
	}
}
