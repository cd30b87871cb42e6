// Package sip reads what the persistence engine of that name goes by in SIP
// requests and responses (RFC 3261): their Call-ID. It takes and refuses what
// net/netfilter/ipvs/ip_vs_pe_sip.c and nf_conntrack_sip.c do, whose reading is
// looser than the RFC's: which call a message belongs to must not depend on the
// director.
package sip

// MaxCallID is the longest Call-ID that is taken, in bytes.
const MaxCallID = 255

// CallID returns the value of the message's Call-ID header, or of the compact form
// i, as a part of b; ok is false if there is none, or it is none that the kernel
// takes: longer than [MaxCallID], or not followed by the end of its line.
func CallID(b []byte) (id []byte, ok bool) {
	// A header that has no value is passed over, by as far as it is from the start of
	// the message: the kernel adds that up.
	for from := 0; ; {
		at, n, found := header(b, from)
		switch {
		case !found:
			return nil, false
		case n == 0:
			from += at
			continue
		case n > MaxCallID, at+n == len(b), b[at+n] != '\r' && b[at+n] != '\n':
			return nil, false
		}
		return b[at : at+n], true
	}
}

const long, compact = "call-id", "i"

// header finds the next Call-ID header behind the end of the line that from is in
// (ct_sip_get_header), and returns where its value is and how long; 0 is no value.
func header(b []byte, from int) (at, n int, found bool) {
	for p := from; p < len(b); p++ {
		if b[p] != '\r' && b[p] != '\n' {
			continue
		}
		if p++; p >= len(b) {
			break
		}
		if b[p-1] == '\r' && b[p] == '\n' {
			if p++; p >= len(b) {
				break
			}
		}
		switch {
		case b[p] == ' ' || b[p] == '\t':
			continue // a line that continues another
		case hasFold(b[p:], long):
			p += len(long)
		case len(b)-p > len(compact) && hasFold(b[p:], compact) && !isAlpha(b[p+len(compact)]):
			p += len(compact)
		default:
			continue
		}
		if p, found = blanks(b, p); !found || p >= len(b) || b[p] != ':' {
			return 0, 0, false
		}
		if p++; p >= len(b) {
			break
		}
		if p, found = blanks(b, p); !found {
			return 0, 0, false
		}
		return p, value(b[p:]), true
	}
	return 0, 0, false
}

// blanks steps over blanks, and over the end of a line that the next one continues
// (sip_skip_whitespace); ok is false where none does.
func blanks(b []byte, p int) (_ int, ok bool) {
	for ; p < len(b); p++ {
		if b[p] == ' ' || b[p] == '\t' {
			continue
		}
		if b[p] != '\r' && b[p] != '\n' {
			break
		}
		if p++; p >= len(b) {
			return p, false
		}
		if b[p-1] == '\r' && b[p] == '\n' {
			if p++; p >= len(b) {
				return p, false
			}
		}
		if b[p] != ' ' && b[p] != '\t' {
			return p, false
		}
		for p < len(b) && (b[p] == ' ' || b[p] == '\t') {
			p++
		}
		break
	}
	return p, true
}

// value returns the length of a Call-ID at the start of b: a word, or two with @
// between them (callid_len); 0 is none.
func value(b []byte) int {
	n := word(b)
	if n == 0 || n == len(b) || b[n] != '@' {
		return n
	}
	n++
	domain := word(b[n:])
	if domain == 0 {
		return 0
	}
	return n + domain
}

func word(b []byte) int {
	n := 0
	for n < len(b) && inWord[b[n]] {
		n++
	}
	return n
}

// inWord has the characters of a word (RFC 3261, section 25.1).
var inWord = func() (in [256]bool) {
	for c := range in {
		in[c] = isAlpha(byte(c)) || c >= '0' && c <= '9'
	}
	for _, c := range "-.!%*_+`'~()<>:\\\"/[]?{}" {
		in[c] = true
	}
	return in
}()

func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// hasFold reports whether b begins with the name, which is in small letters.
func hasFold(b []byte, name string) bool {
	if len(b) < len(name) {
		return false
	}
	for i := range len(name) {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
