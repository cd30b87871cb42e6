package sip

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

// invite is RFC 3261's, section 24.2, with another Call-ID header.
func invite(callID string) string {
	return "INVITE sip:bob@biloxi.com SIP/2.0\r\nVia: SIP/2.0/UDP pc33.atlanta.com;branch=z9hG4bKnashds8\r\n" +
		"Max-Forwards: 70\r\nTo: Bob <sip:bob@biloxi.com>\r\nFrom: Alice <sip:alice@atlanta.com>;tag=1928301774\r\n" +
		callID + "CSeq: 314159 INVITE\r\nContent-Length: 0\r\n\r\n"
}

func TestCallID(t *testing.T) {
	long := strings.Repeat("x", MaxCallID)
	for _, tt := range []struct{ name, text, want string }{
		{"a request", invite("Call-ID: a84b4c76e66710@pc33.atlanta.com\r\n"), "a84b4c76e66710@pc33.atlanta.com"},
		{"a response", "SIP/2.0 200 OK\r\nCall-ID: 1@h\r\n\r\n", "1@h"},
		{"compact", invite("i: a84b4c76e66710\r\n"), "a84b4c76e66710"},
		{"compact, capital", invite("I:x\r\n"), "x"},
		{"another case", invite("cAlL-iD: x@y\r\n"), "x@y"},
		{"blanks before the colon", invite("Call-ID \t : \t x@y\r\n"), "x@y"},
		{"a value on the next line", invite("Call-ID:\r\n x@y\r\n"), "x@y"},
		{"line feeds alone", strings.ReplaceAll(invite("Call-ID: x@y\r\n"), "\r\n", "\n"), "x@y"},
		{"carriage returns alone", strings.ReplaceAll(invite("Call-ID: x@y\r\n"), "\r\n", "\r"), "x@y"},
		{"all characters of a word", invite("Call-ID: aZ09-.!%*_+`'~()<>:\\\"/[]?{}@b\r\n"), "aZ09-.!%*_+`'~()<>:\\\"/[]?{}@b"},
		{"as long as may be", invite("Call-ID: " + long + "\r\n"), long},
		{"too long", invite("Call-ID: x" + long + "\r\n"), ""},
		{"the first line", "Call-ID: x@y\r\n", ""},
		{"a line that continues another", "A: b\r\n Call-ID: x@y\r\n", ""},
		{"two", invite("Call-ID: x@y\r\ni: z\r\n"), "x@y"},
		{"the first has no value", invite("Call-ID: @\r\nCall-ID: z\r\n"), "z"},
		// The kernel looks too far behind then.
		{"the first two have none", invite("Call-ID: @\r\ni: @\r\nCall-ID: z\r\n"), ""},
		{"nothing follows", "\r\nCall-ID: x@y", ""},
		{"a blank follows", invite("Call-ID: x@y ;z\r\n"), ""},
		{"two @", invite("Call-ID: x@y@z\r\n"), ""},
		{"no host", invite("Call-ID: x@\r\n"), ""},
		{"no value", invite("Call-ID:\r\n"), ""},
		{"no colon", invite("Call-ID x@y\r\n"), ""},
		{"another header that begins so", invite("Call-Identity: x\r\n"), ""},
		{"i and more letters", invite("In-Reply-To: x\r\n"), ""},
		{"none", invite(""), ""},
		{"empty", "", ""},
		{"ends in the name", "\r\nCall-ID", ""},
		{"ends behind the colon", "\r\nCall-ID:", ""},
		{"ends in a line's end", "\r\nCall-ID:\r", ""},
		{"binary", "\r\ni:\x00\xff\r\n", ""},
	} {
		got, ok := CallID([]byte(tt.text))
		if string(got) != tt.want || ok != (tt.want != "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, ok, tt.want)
		}
	}
}

// FuzzCallID looks for bytes that make it panic or give what is no Call-ID, and
// holds it to an expression where the message is one of plain lines.
func FuzzCallID(f *testing.F) {
	f.Add([]byte(invite("Call-ID: a@b\r\n")))
	f.Add([]byte(invite("i: a@b\r\n")))
	f.Add([]byte("\r\n\r\nCall-ID:\r\n\t@\r\ni:x\n"))
	plain := regexp.MustCompile(`^(?:[^\r\n]*\r\n)*?(?i:call-id|i):([a-zA-Z0-9]+(?:@[a-z]+)?)\r\n`)
	word := regexp.MustCompile("^[-.!%*_+`'~()<>:\\\\\"/\\[\\]?{}a-zA-Z0-9]+(@[-.!%*_+`'~()<>:\\\\\"/\\[\\]?{}a-zA-Z0-9]+)?$")
	f.Fuzz(func(t *testing.T, b []byte) {
		id, ok := CallID(b)
		switch {
		case !ok && id != nil, ok && (len(id) == 0 || len(id) > MaxCallID):
			t.Fatalf("%q, %v", id, ok)
		case ok && (!word.Match(id) || !bytes.Contains(b, id)):
			t.Fatalf("%q is no Call-ID", id)
		}
		line := append([]byte("X\r\n"), b...)
		if m := plain.FindSubmatch(line); m != nil && len(m[1]) <= MaxCallID && bytes.Count(bytes.ToLower(line), []byte("i")) == 1 {
			if id, _ := CallID(line); !bytes.Equal(id, m[1]) {
				t.Fatalf("%q has %q, want %q", line, id, m[1])
			}
		}
	})
}

func TestCallIDAllocatesNothing(t *testing.T) {
	b := []byte(invite("Call-ID: a84b4c76e66710@pc33.atlanta.com\r\n"))
	if n := testing.AllocsPerRun(100, func() { CallID(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
