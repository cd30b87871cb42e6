package guard

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// Key is one end of a connection: a service or a real server.
type Key struct {
	Addr  nic.Addr
	Port  uint16 // host byte order; 0 is every port of the address
	Proto uint8  // IPPROTO_TCP, _UDP or _SCTP; with port 0 also _ESP or _AH
}

// String returns the key as "tcp 192.0.2.1:80".
func (k Key) String() string {
	name := fmt.Sprint(k.Proto)
	switch k.Proto {
	case unix.IPPROTO_TCP:
		name = "tcp"
	case unix.IPPROTO_UDP:
		name = "udp"
	case unix.IPPROTO_SCTP:
		name = "sctp"
	case unix.IPPROTO_ESP:
		name = "esp"
	case unix.IPPROTO_AH:
		name = "ah"
	}
	return name + " " + netip.AddrPortFrom(netip.AddrFrom16(k.Addr).Unmap(), k.Port).String()
}

// State is all that a guard owns. But for that of Wide, the order is of no
// matter, and neither are duplicates.
type State struct {
	Services []Key // virtual addresses and ports
	// Wide are services that no Key can tell. Of those packets that no Key of
	// Services takes, the first Wide that takes one decides. At most [MaxWide].
	Wide    []Wide
	Servers []Key // addresses and ports of the real servers behind them
	// Networks are those whose connections to the outside are masqueraded. At most
	// [MaxNetworks].
	Networks []netip.Prefix
	Local    []nic.Addr // all addresses of this host, link-local ones too
}

// pack returns the keys of each table, or what is wrong with one.
func (s *State) pack() (want [numTables][]key, err error) {
	for t, list := range [numTables][]Key{services: s.Services, servers: s.Servers} {
		want[t] = make([]key, len(list))
		for i, k := range list {
			if k.Addr == ([16]byte{}) || !hasPorts(k.Proto) && (k.Port != 0 || !isIPsec(k.Proto)) {
				return want, fmt.Errorf("guard: %v is no service or server: give an address, and TCP, UDP or SCTP", k)
			}
			want[t][i] = k.pack()
		}
	}
	if err := checkWide(s.Wide); err != nil {
		return want, err
	}
	want[local] = make([]key, len(s.Local))
	for i, a := range s.Local {
		want[local][i] = Key{Addr: a}.pack()
	}
	return want, nil
}

// tableID is one of the sets of keys that the kernel looks into.
type tableID int

const (
	services tableID = iota
	servers
	local // keys without protocol and port
	numTables
)

func (t tableID) String() string {
	return [numTables]string{"services", "servers", "local addresses"}[t]
}

// keyLen is the length of a key in bytes.
const keyLen = 20

// Offsets of the parts of a key.
const (
	keyAddr   = 0  // 16 bytes, as in nic.Addr
	keyPort   = 16 // 2 bytes, network byte order
	keyProto  = 18
	keyFamily = 19 // 4 or 6: an IPv6 packet with an IPv4-mapped address is not one of IPv4
)

// key is a Key as the BPF program makes it of a packet.
type key [keyLen]byte

func (k Key) pack() (p key) {
	copy(p[keyAddr:], k.Addr[:])
	binary.BigEndian.PutUint16(p[keyPort:], k.Port)
	p[keyProto] = k.Proto
	p[keyFamily] = 6
	if netip.AddrFrom16(k.Addr).Is4In6() {
		p[keyFamily] = 4
	}
	return p
}

// is4 reports whether the key's address is one of IPv4.
func (p *key) is4() bool { return p[keyFamily] == 4 }

// hasPorts reports whether the protocol is one whose packets begin with source
// and destination port.
func hasPorts(proto uint8) bool {
	return proto == unix.IPPROTO_TCP || proto == unix.IPPROTO_UDP || proto == unix.IPPROTO_SCTP
}

// isIPsec reports whether the protocol is one whose packets have no ports, but
// belong to flows that do.
func isIPsec(proto uint8) bool { return proto == unix.IPPROTO_ESP || proto == unix.IPPROTO_AH }

// table remembers which keys the kernel has. Each is marked with the number of
// the last diff in which it was wanted.
type table struct {
	have map[key]uint64
	gen  uint64
}

func newTable() table { return table{have: make(map[key]uint64)} }

// missing returns the wanted keys that the kernel has not, each once.
func (t *table) missing(want []key) (fresh []key) {
	seen := make(map[key]struct{})
	for _, k := range want {
		if _, ok := t.have[k]; ok {
			continue
		}
		if _, ok := seen[k]; !ok {
			seen[k] = struct{}{}
			fresh = append(fresh, k)
		}
	}
	return fresh
}

// diff returns the wanted keys that the kernel has not, each once, and the keys
// that it has but that are not wanted.
func (t *table) diff(want []key) (fresh, stale []key) {
	t.gen++
	known := 0
	for _, k := range want {
		if gen, ok := t.have[k]; ok && gen != t.gen {
			t.have[k] = t.gen
			known++
		}
	}
	fresh = t.missing(want)
	if known == len(t.have) {
		return fresh, nil
	}
	for k, gen := range t.have {
		if gen != t.gen {
			stale = append(stale, k)
		}
	}
	return fresh, stale
}

// added notes that the kernel has the keys.
func (t *table) added(keys []key) {
	for _, k := range keys {
		t.have[k] = t.gen
	}
}

// deleted notes that the kernel has the keys no more.
func (t *table) deleted(keys []key) {
	for _, k := range keys {
		delete(t.have, k)
	}
}
