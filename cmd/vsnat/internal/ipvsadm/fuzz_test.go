package ipvsadm

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"vsnat/cmd/vsnat/internal/ipvsadm/record"
)

// FuzzScanner checks that every word is an option, an option's argument or a
// plain word, that nothing is read twice, and that an end stays an end.
func FuzzScanner(f *testing.F) {
	for _, line := range []string{
		"-A -t 10.0.0.1:80 -s rr", "-Ln=3", "-p300 -p 300 -p -x", "--persistent=7 --weight", "-- -x", "- '' --", "-w==5 -t=", "--=x -=",
	} {
		f.Add(strings.Join(record.Words(line), "\x00"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		s := newScanner(options, args)
		for steps := 0; ; steps++ {
			if steps > len(line)+len(args) {
				t.Fatalf("%q does not end", args)
			}
			opt, arg, err := s.scan()
			if err != nil {
				if !slices.Contains(args, s.word()) {
					t.Fatalf("%v names %q, which is no word of %q", err, s.word(), args)
				}
				return
			}
			if opt == nil {
				break
			}
			if (arg != nil) != (opt.arg == needArg) && opt.arg != optArg {
				t.Fatalf("option %s of %q has argument %v", opt.long, args, arg)
			}
			if arg != nil && !strings.HasSuffix(s.word(), *arg) {
				t.Fatalf("argument %q is not in %q", *arg, s.word())
			}
		}
		if s.next != len(args) {
			t.Fatalf("%q ends at word %d", args, s.next)
		}
		if opt, _, err := s.scan(); opt != nil || err != nil {
			t.Fatalf("%q goes on after its end", args)
		}
	})
}

// exitCodes are all the codes that ipvsadm ends with.
var exitCodes = []int{codeOK, codeList, codeUsage, codeRefused}

// FuzzMain runs any arguments: there is an exit code, and whoever fails says
// why.
func FuzzMain(f *testing.F) {
	session, err := os.ReadFile("testdata/session.txt")
	if err != nil {
		f.Fatal(err)
	}
	for line := range strings.Lines(string(session)) {
		if cmd, ok := strings.CutPrefix(line, "$ ipvsadm "); ok {
			f.Add(strings.Join(record.Words(cmd), "\x00"))
		}
	}
	client := serve(f, newKernel())
	f.Fuzz(func(t *testing.T, line string) {
		var stdout, stderr bytes.Buffer
		code := Main("ipvsadm", strings.Split(line, "\x00"), strings.NewReader(""), &stdout, &stderr, client, record.Names{})
		if !slices.Contains(exitCodes, code) {
			t.Fatalf("%q ends with %d", line, code)
		}
		if (code != 0) != (stderr.Len() > 0) {
			t.Fatalf("%q ends with %d and says %q", line, code, stderr.String())
		}
	})
}

// FuzzRestore reads any rules, and what is saved after them restores to the
// same, but for what the real ipvsadm cannot read either of its own: a mark that
// it writes as a negative number, and flag-3 of sh or mh, which it has no name for
// and writes as nothing behind -b.
func FuzzRestore(f *testing.F) {
	f.Add("-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.2.0.1:80 -m -w 1\n")
	f.Add("ipvsadm -A -f 7 -6 -p -M 64\r\n\n  \n-a -f 7 -6 -r [fd00::1]:0 -i --tun-type gue --tun-port 7 --tun-csum")
	f.Add("-R\n")
	f.Add("-A -u fd00::1 -p 5 -o --pe sip -s sh -b sh-port,flag-3")
	f.Add("-A -u 10.0.0.1:80 -s sh -b flag-3")
	first, second := serve(f, newKernel()), serve(f, newKernel())
	restore := func(c Client, rules string) int {
		var stdout, stderr bytes.Buffer
		return Main("ipvsadm-restore", nil, strings.NewReader(rules), &stdout, &stderr, c, record.Names{})
	}
	f.Fuzz(func(t *testing.T, rules string) {
		if code := restore(first, rules); !slices.Contains(exitCodes, code) {
			t.Fatalf("%q ends with %d", rules, code)
		}
		_, saved, _ := tool(first, "-S -n")
		if strings.Contains(saved, "-f -") || strings.Contains(saved, "-b \n") {
			return
		}
		if code := restore(second, saved); code != 0 {
			t.Fatalf("%q is saved as %q, which ends with %d", rules, saved, code)
		}
		if _, again, _ := tool(second, "-S -n"); again != saved {
			t.Fatalf("%q is saved as %q and then as %q", rules, saved, again)
		}
	})
}

// FuzzAtomic reads any rules with --atomic: all are carried out, as -R does it,
// or none.
func FuzzAtomic(f *testing.F) {
	f.Add("-A -t 10.0.0.1:80 -s rr\n-a -t 10.0.0.1:80 -r 10.2.0.1:80 -m -w 1\n")
	f.Add("-C\n-A -f 7\n-A -f 7\n")
	f.Add("-A -t 10.0.0.1:80\n-L\n")
	f.Add("-D -t 10.9.9.9:80\n--set 1 2 3\n-A -t [::ffff:10.0.0.1]:80")
	atomic, plain := serve(f, newKernel()), serve(f, newKernel())
	f.Fuzz(func(t *testing.T, rules string) {
		const before = "-A -t 10.9.9.9:80 -s rr\n-a -t 10.9.9.9:80 -r 10.2.0.1:80 -m -w 1\n"
		for _, c := range []Client{atomic, plain} {
			if code, stderr := restoreFrom(c, "ipvsadm-restore", before); code != 0 {
				t.Fatal(stderr)
			}
		}
		code, stderr := restoreFrom(atomic, "ipvsadm -R --atomic", rules)
		if (code != 0) != (stderr != "") {
			t.Fatalf("code %d, %q", code, stderr)
		}
		_, got, _ := tool(atomic, "-S -n")
		want := before
		if code == 0 {
			if plainCode, stderr := restoreFrom(plain, "ipvsadm -R", rules); plainCode != 0 || stderr != "" {
				t.Fatalf("%q is done with --atomic, and without: code %d, %s", rules, plainCode, stderr)
			}
			_, want, _ = tool(plain, "-S -n")
		}
		if got != want {
			t.Fatalf("%q ends with %d and leaves %q, want %q", rules, code, got, want)
		}
	})
}
