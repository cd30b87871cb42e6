package guard

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Wide tells packets to services, which no Key takes, from the host's: by where
// they come from and go to. The zero value of a field stands for any.
type Wide struct {
	Src, Dst netip.Prefix // of one family
	Proto    uint8        // IPPROTO_TCP, _UDP or _SCTP
	// FirstPort and LastPort bound the destination port, in host byte order.
	FirstPort, LastPort uint16
	Ifindex             int  // of the receiving interface
	Host                bool // the packets are the host's and not a service's
}

// MaxWide is how many of them a guard takes.
const MaxWide = 128

// checkWide returns what is wrong with the list.
func checkWide(list []Wide) error {
	if len(list) > MaxWide {
		return fmt.Errorf("guard: %d wide selectors: there is room for %d", len(list), MaxWide)
	}
	for _, w := range list {
		switch {
		case w.Src.IsValid() && w.Dst.IsValid() && w.Src.Addr().Is4() != w.Dst.Addr().Is4(),
			w.Src.Addr().Is4In6(), w.Dst.Addr().Is4In6():
			return fmt.Errorf("guard: %s to %s: give prefixes of one address family", w.Src, w.Dst)
		case w.Proto != 0 && !hasPorts(w.Proto):
			return fmt.Errorf("guard: protocol %d is none of TCP, UDP and SCTP", w.Proto)
		case w.FirstPort > w.LastPort:
			return fmt.Errorf("guard: ports %d to %d are in the wrong order", w.FirstPort, w.LastPort)
		case w.Ifindex < 0:
			return fmt.Errorf("guard: no interface has the number %d", w.Ifindex)
		}
	}
	return nil
}

// ports returns the bounds of the destination port.
func (w *Wide) ports() (first, last uint16) {
	if w.FirstPort == 0 && w.LastPort == 0 {
		return 0, 65535
	}
	return w.FirstPort, w.LastPort
}

// family returns 4, 6, or 0 for both.
func (w *Wide) family() uint8 {
	for _, p := range []netip.Prefix{w.Dst, w.Src} {
		if p.IsValid() {
			if p.Addr().Is4() {
				return 4
			}
			return 6
		}
	}
	return 0
}

// Offsets in a Wide as the BPF program has it. Numbers are in native order.
const (
	wideDst     = 0  // 16 bytes, as in nic.Addr
	wideDstMask = 16 // 16 bytes: those bits count
	wideSrc     = 32
	wideSrcMask = 48
	wideFirst   = 64 // 2 bytes, as the two below
	wideLast    = 66
	wideIfindex = 68 // 4 bytes; 0 is any
	wideProto   = 72 // 0 is any
	wideFamily  = 73 // 4 or 6; 0 is any
	wideWhose   = 74
	wideLen     = 80
)

// Values at wideWhose.
const (
	wideEnd = iota // of the list
	wideOurs
	wideHost
)

// pack returns it as the BPF program has it.
func (w *Wide) pack() (b [wideLen]byte) {
	put := func(p netip.Prefix, at, mask int) {
		if !p.IsValid() {
			return
		}
		a, bits := p.Masked().Addr().As16(), p.Bits()
		if p.Addr().Is4() {
			bits += 96
		}
		copy(b[at:], a[:])
		for i := range bits {
			b[mask+i/8] |= 0x80 >> (i % 8)
		}
	}
	put(w.Dst, wideDst, wideDstMask)
	put(w.Src, wideSrc, wideSrcMask)
	first, last := w.ports()
	binary.NativeEndian.PutUint16(b[wideFirst:], first)
	binary.NativeEndian.PutUint16(b[wideLast:], last)
	binary.NativeEndian.PutUint32(b[wideIfindex:], uint32(w.Ifindex))
	b[wideProto], b[wideFamily], b[wideWhose] = w.Proto, w.family(), wideOurs
	if w.Host {
		b[wideWhose] = wideHost
	}
	return b
}
