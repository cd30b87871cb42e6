package wire

import "encoding/binary"

// The PROXY protocol, version 2, tells a server who its client is, in the first bytes
// of the stream (haproxy.org, doc/proxy-protocol.txt, section 2.2).

// Lengths in bytes of a PROXY header, of TCP over IPv4 and over IPv6.
const (
	ProxyLen4 = 28
	ProxyLen6 = 52
)

// proxySignature is what a header begins with; the next byte says version 2 and PROXY.
const proxySignature = "\r\n\r\n\x00\r\nQUIT\n\x21"

// ProxyLen returns the length in bytes of the header for an address of that family.
func ProxyLen(a *[16]byte) int {
	if Is4(a) {
		return ProxyLen4
	}
	return ProxyLen6
}

// PutProxy writes the header of a TCP connection from src to dst, of one family and
// with ports in host byte order, to the start of b, which has room for it, and returns
// its length in bytes.
func PutProxy(b []byte, src *[16]byte, srcPort uint16, dst *[16]byte, dstPort uint16) int {
	n := ProxyLen(src)
	p := b[copy(b, proxySignature):n]
	size := 4
	p[0] = 0x11 // TCP over IPv4
	if n == ProxyLen6 {
		size, p[0] = 16, 0x21
	}
	binary.BigEndian.PutUint16(p[1:], uint16(2*size+4))
	copy(p[3:], src[16-size:])
	copy(p[3+size:], dst[16-size:])
	putPorts(p[3+2*size:], srcPort, dstPort)
	return n
}

// tcpOptTimestamps is the kind of the timestamps option (RFC 7323, section 3.2).
const tcpOptTimestamps = 8

// DropTimestamps puts padding in place of the segment's timestamps option, if it has
// one, and corrects the checksum. partial is as in [RewriteDst4]. The header is
// valid.
func (b TCP) DropTimestamps(partial bool) {
	end := b.HeaderLen()
	for off := TCPMinLen; off < end && b[off] != tcpOptEnd; {
		if b[off] == tcpOptNOP {
			off++
			continue
		}
		if off+1 >= end || b[off+1] < 2 || off+int(b[off+1]) > end {
			return
		}
		n := int(b[off+1])
		if b[off] == tcpOptTimestamps {
			before := Fold(Sum(b[TCPMinLen:end], 0))
			for i := range n {
				b[off+i] = tcpOptNOP
			}
			if !partial {
				b.SetChecksum(^Fold(uint64(^b.Checksum()) + uint64(^before) + Sum(b[TCPMinLen:end], 0)))
			}
			return
		}
		off += n
	}
}

// Shortened corrects the checksum of a segment that was oldLen bytes long, header
// included, and lost a payload with that sum ([Sum]).
func (b TCP) Shortened(oldLen int, payload uint64) {
	b.SetChecksum(^Fold(uint64(^b.Checksum()) + uint64(^Fold(payload)) + uint64(^uint16(oldLen)) + uint64(len(b))))
}
