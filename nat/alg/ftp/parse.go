package ftp

import (
	"bytes"

	"vsnat/conntrack"
)

// result is what a look at the beginning of a line gave.
type result uint8

const (
	no   result = iota // not what is looked for
	more               // may become it: the bytes end too early
	yes
)

// form is a line that announces where data can be sent, as
// ip_vs_ftp_get_addrport in net/netfilter/ipvs/ip_vs_ftp.c reads it.
type form struct {
	word string
	// open is what stands before the announcement, maybe with other text in between.
	open byte
	// extended is the form of RFC 2428, else it is that of RFC 959.
	extended bool
	// addressless: the address may be missing.
	addressless bool
}

var (
	portForm = form{word: "PORT", open: ' '}
	eprtForm = form{word: "EPRT", open: ' ', extended: true}
	pasvForm = form{word: "227 ", open: '('}
	epsvForm = form{word: "229 ", open: '(', extended: true, addressless: true}
)

// announcement is what a line announces.
type announcement struct {
	addr    conntrack.Addr
	hasAddr bool
	port    uint16
	// start and end tell where it stands in the line.
	start, end int
}

// read looks for an announcement at the beginning of b. v6 tells the family of
// addresses in the extended form. With more, a.start is where the announcement
// begins, or -1 if that has not come yet.
func (f *form) read(b []byte, v6 bool, a *announcement) result {
	*a = announcement{start: -1}
	n := min(len(b), len(f.word))
	if !bytes.EqualFold(b[:n], []byte(f.word[:n])) {
		return no
	}
	if n < len(f.word) {
		return more
	}
	at := f.find(b)
	if at == len(b) {
		return more
	}
	a.start = at
	if f.extended {
		return a.extended(b, at, f.addressless, v6)
	}
	return a.numbers(b, at)
}

// find returns where the announcement begins, or len(b): behind one or several of
// what opens it, or, as that may be missing in the old form, at the first digit.
func (f *form) find(b []byte) int {
	opened := false
	for at := len(f.word); at < len(b); at++ {
		switch {
		case opened && b[at] != f.open, !opened && !f.extended && digit(b[at]):
			return at
		case b[at] == f.open:
			opened = true
		}
	}
	return len(b)
}

// numbers reads h1,h2,h3,h4,p1,p2. As the kernel does, it takes a missing number
// for 0, and anything for the end of the last one.
func (a *announcement) numbers(b []byte, at int) result {
	var p [6]int
	i := 0
	for ; at < len(b); at++ {
		switch c := b[at]; {
		case digit(c):
			if p[i] = p[i]*10 + int(c-'0'); p[i] > 255 {
				return no
			}
			continue
		case c == ',' && i < 5:
			i++
			continue
		}
		if i < 5 {
			return no
		}
		a.addr = conntrack.Addr{10: 0xff, 11: 0xff, 12: byte(p[0]), 13: byte(p[1]), 14: byte(p[2]), 15: byte(p[3])}
		a.hasAddr = true
		a.port = uint16(p[4]<<8 | p[5])
		a.end = at
		return yes
	}
	return more
}

// extended reads dFdADDRESSdPORTd, d being any character.
func (a *announcement) extended(b []byte, at int, addressless, v6 bool) result {
	d := b[at]
	if d < 33 || d > 126 {
		return no
	}
	if at++; at == len(b) {
		return more
	}
	if b[at] == d {
		if !addressless {
			return no
		}
		if at++; at == len(b) {
			return more
		}
		if b[at] != d {
			return no
		}
	} else {
		family := byte('1')
		if v6 {
			family = '2'
		}
		if b[at] != family {
			return no
		}
		if at++; at == len(b) {
			return more
		}
		if b[at] != d {
			return no
		}
		at++
		n := bytes.IndexByte(b[at:], d)
		if n < 0 {
			if len(b)-at > maxAddress {
				return no
			}
			return more
		}
		var ok bool
		if a.addr, ok = parseAddress(b[at:at+n], v6); !ok {
			return no
		}
		a.hasAddr = true
		at += n
	}
	port := 0
	for at++; at < len(b); at++ {
		switch c := b[at]; {
		case digit(c):
			if port = port*10 + int(c-'0'); port > 65535 {
				return no
			}
		case c == d && port != 0:
			a.port = uint16(port)
			a.end = at + 1
			return yes
		default:
			return no
		}
	}
	return more
}

func digit(c byte) bool { return c >= '0' && c <= '9' }
