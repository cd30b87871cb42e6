package ipvs

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// Conn is an entry of the kernel's connection table as /proc/net/ip_vs_conn
// lists it.
type Conn struct {
	Proto                 string // "TCP", "UDP", or "IP" for the template of a mark
	Client, Virtual, Dest netip.AddrPort
	State                 string // "NONE" or "ASSURED" for a template
	Expires               int    // seconds until its timer fires
}

// ReadConns reads the text of /proc/net/ip_vs_conn: a heading, and for each
// entry protocol, three times address and port in hexadecimal (of IPv6, with
// colons), state and remaining seconds. The entries are in the order of the kernel's hash.
func ReadConns(r io.Reader) (all []Conn, err error) {
	sc := bufio.NewScanner(r)
	for line := 1; sc.Scan(); line++ {
		if line == 1 {
			continue
		}
		f := strings.Fields(sc.Text())
		if len(f) < 9 {
			return nil, fmt.Errorf("ipvs: connection list, line %d: %d fields, want 9 or more", line, len(f))
		}
		c := Conn{Proto: f[0], State: f[7]}
		for i, p := range []*netip.AddrPort{&c.Client, &c.Virtual, &c.Dest} {
			if *p, err = hexAddrPort(f[1+2*i], f[2+2*i]); err != nil {
				return nil, fmt.Errorf("ipvs: connection list, line %d: %w", line, err)
			}
		}
		if c.Expires, err = strconv.Atoi(f[8]); err != nil {
			return nil, fmt.Errorf("ipvs: connection list, line %d: %w", line, err)
		}
		all = append(all, c)
	}
	return all, sc.Err()
}

func hexAddrPort(addr, port string) (netip.AddrPort, error) {
	b, err := hex.DecodeString(strings.ReplaceAll(addr, ":", "") + port)
	switch {
	case err != nil:
		return netip.AddrPort{}, err
	case len(b) == 6 && !strings.Contains(addr, ":"):
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), binary.BigEndian.Uint16(b[4:])), nil
	case len(b) == 18 && strings.Count(addr, ":") == 7:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)), binary.BigEndian.Uint16(b[16:])), nil
	}
	return netip.AddrPort{}, fmt.Errorf("%q and %q are no address and port", addr, port)
}
