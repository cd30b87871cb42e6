package ftp

import (
	"strconv"

	"vsnat/conntrack"
)

// maxAddress is the length of the longest address in text: IPv6 whose last 32
// bits are written as IPv4.
const maxAddress = 45

// parseAddress reads an IP address of that family. It allocates nothing, other
// than net/netip's, whose errors do.
func parseAddress(b []byte, v6 bool) (conntrack.Addr, bool) {
	if v6 {
		return parse6(b)
	}
	a := conntrack.Addr{10: 0xff, 11: 0xff}
	four, ok := parse4(b)
	copy(a[12:], four[:])
	return a, ok
}

// parse4 reads four decimal numbers, none with a needless 0 before it: some take
// those for octal.
func parse4(b []byte) (a [4]byte, ok bool) {
	i, n, digits := 0, 0, 0
	for _, c := range b {
		switch {
		case digit(c):
			digits++
			if n == 0 && digits > 1 {
				return a, false
			}
			if n = n*10 + int(c-'0'); n > 255 {
				return a, false
			}
		case c == '.' && digits > 0 && i < 3:
			a[i] = byte(n)
			i, n, digits = i+1, 0, 0
		default:
			return a, false
		}
	}
	a[i] = byte(n)
	return a, i == 3 && digits > 0
}

// parse6 reads an IPv6 address as of RFC 4291, section 2.2.
func parse6(b []byte) (a conntrack.Addr, ok bool) {
	n, gap := 0, -1 // bytes read; how many before "::"
	if len(b) >= 2 && b[0] == ':' && b[1] == ':' {
		gap, b = 0, b[2:]
	}
	for len(b) > 0 {
		if n == len(a) {
			return a, false
		}
		v, digits := 0, 0
		for digits < len(b) && digits < 5 {
			h := hex(b[digits])
			if h < 0 {
				break
			}
			v = v<<4 | h
			digits++
		}
		switch {
		case digits == 0 || digits > 4:
			return a, false
		case digits < len(b) && b[digits] == '.':
			four, ok := parse4(b)
			if !ok || n > len(a)-4 {
				return a, false
			}
			n += copy(a[n:], four[:])
			return spread(a, n, gap)
		}
		a[n], a[n+1] = byte(v>>8), byte(v)
		n += 2
		if b = b[digits:]; len(b) == 0 {
			break
		}
		if b[0] != ':' || len(b) == 1 {
			return a, false
		}
		if b = b[1:]; b[0] == ':' {
			if gap >= 0 {
				return a, false
			}
			gap, b = n, b[1:]
		}
	}
	return spread(a, n, gap)
}

// spread moves the bytes behind the gap to the end of the address.
func spread(a conntrack.Addr, n, gap int) (conntrack.Addr, bool) {
	if gap < 0 {
		return a, n == len(a)
	}
	if n == len(a) {
		return a, false // the gap stands for nothing
	}
	tail := a
	clear(a[gap:])
	copy(a[len(a)-(n-gap):], tail[gap:n])
	return a, true
}

func hex(c byte) int {
	switch {
	case digit(c):
		return int(c - '0')
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return int(c|0x20-'a') + 10
	}
	return -1
}

// appendNumbers appends an IPv4 address as FTP writes it, h1,h2,h3,h4.
func appendNumbers(b []byte, a *conntrack.Addr) []byte {
	for i, v := range a[12:] {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(v), 10)
	}
	return b
}
