package wire

import "encoding/binary"

// What a host says to an SCTP packet that belongs to no association of its own,
// "out of the blue" (RFC 9260, section 8.4).

const (
	// sctpAnswerLen is the length of such an answer: one chunk without a value.
	sctpAnswerLen = SCTPLen + SCTPChunkLen
	// sctpTagReflected is the chunk flag T: the verification tag is the one of the
	// packet that is answered.
	sctpTagReflected = 1
	// sctpStaleCookie is an ERROR's cause (RFC 9260, section 3.3.10.3).
	sctpStaleCookie = 3
	// sctpInitLen is the length of an INIT's fixed part, and initTag where its
	// initiate tag stands, both from the start of the chunk.
	sctpInitLen = 20
	sctpInitTag = 4
)

// BuildSCTPRefusal writes the packet with which a host answers the valid packet
// orig, an SCTP packet of no association it has (sctp_rcv_ootb in
// net/sctp/input.c, sctp_sf_ootb in net/sctp/sm_statefuns.c): an ABORT, or to a
// SHUTDOWN ACK a SHUTDOWN COMPLETE. Not answered are fragments, packets whose
// sender knows already (ABORT, SHUTDOWN COMPLETE, COOKIE ACK, stale cookie),
// impossible ones, and what does not go between single hosts. That the checksum is
// right is for the caller to see.
func BuildSCTPRefusal(dst []byte, orig IP) int {
	o := wholeSCTP(orig)
	a, ok := o.refusal()
	if !ok {
		return 0
	}
	src, to := orig.Dst(), orig.Src()
	return putSCTP(dst, orig, &src, &to, o.DstPort(), o.SrcPort(), &a)
}

// BuildSCTPAbortOnward writes the ABORT that takes the place of the valid packet
// orig, one of an association, on its way: from src to to, addresses of the
// packet's family, with the packet's own verification tag, which is the receiver's
// (RFC 9260, section 8.5.1). Not answered is what [BuildSCTPRefusal] does not
// answer.
func BuildSCTPAbortOnward(dst []byte, orig IP, src *[16]byte, srcPort uint16, to *[16]byte, toPort uint16) int {
	o := wholeSCTP(orig)
	if _, ok := o.refusal(); !ok {
		return 0
	}
	return putSCTP(dst, orig, src, to, srcPort, toPort, &sctpAnswer{tag: o.Tag(), typ: SCTPAbort})
}

// wholeSCTP returns the SCTP packet in one that is no fragment and goes from one
// host to one host, else nothing.
func wholeSCTP(orig IP) SCTP {
	if orig.V6() {
		ip := IPv6(orig)
		if u, r := ip.Upper(); r == Parsed && u.Proto == ProtoSCTP && !u.MoreFragments && u.FragmentOffset == 0 && unicast6(ip, false) {
			return SCTP(ip[u.Offset:ip.TotalLen()])
		}
		return nil
	}
	if ip := IPv4(orig); ip.Protocol() == ProtoSCTP && !ip.Fragment() && unicast4(ip) {
		return ip.Payload()
	}
	return nil
}

// sctpAnswer is a packet with one chunk without a value.
type sctpAnswer struct {
	tag        uint32
	typ, flags uint8
}

// refusal returns what answers a packet out of the blue; ok is false if nothing
// does.
func (b SCTP) refusal() (a sctpAnswer, ok bool) {
	if !b.IsValid() {
		return a, false
	}
	a = sctpAnswer{tag: b.Tag(), typ: SCTPAbort, flags: sctpTagReflected}
	off := SCTPLen
	for off <= len(b)-SCTPChunkLen {
		n := b.chunkLen(off)
		if n < SCTPChunkLen || n > len(b)-off {
			break
		}
		switch typ := b[off]; {
		case typ == SCTPAbort, typ == SCTPShutdownComplete, typ == SCTPCookieAck,
			typ == SCTPInit && (off != SCTPLen || n < sctpInitLen),
			typ == SCTPError && n >= SCTPChunkLen+4 && binary.BigEndian.Uint16(b[off+SCTPChunkLen:]) == sctpStaleCookie:
			return a, false
		case typ == SCTPInit:
			// Its sender takes no other tag than the one it offers.
			a = sctpAnswer{tag: binary.BigEndian.Uint32(b[off+sctpInitTag:]), typ: SCTPAbort}
		case typ == SCTPShutdownAck:
			a.typ = SCTPShutdownComplete
		}
		off += (n + 3) &^ 3
	}
	return a, off > SCTPLen // not one whole chunk: nothing to answer
}

// putSCTP writes a packet with the one chunk, of the family and traffic class of
// orig.
func putSCTP(dst []byte, orig IP, src, to *[16]byte, srcPort, toPort uint16, a *sctpAnswer) int {
	head := IPv4MinLen
	if orig.V6() {
		head = IPv6Len
	}
	n := head + sctpAnswerLen
	switch {
	case len(dst) < n:
		return 0
	case orig.V6():
		IPv6(dst).Encode(&IPv6Fields{
			TrafficClass: IPv6(orig).TrafficClass() &^ tosECN,
			PayloadLen:   sctpAnswerLen,
			NextHeader:   ProtoSCTP,
			HopLimit:     answerTTL,
			Src:          *src,
			Dst:          *to,
		})
	default:
		IPv4(dst).Encode(&IPv4Fields{
			TOS:      IPv4(orig).TOS() &^ tosECN,
			TotalLen: n,
			Flags:    IPv4DontFragment,
			TTL:      answerTTL,
			Protocol: ProtoSCTP,
			Src:      [4]byte(src[12:]),
			Dst:      [4]byte(to[12:]),
		})
	}
	SCTP(dst[head:n]).encode(srcPort, toPort, a)
	return n
}

// encode writes the packet's common header, its checksum included, and the chunk.
func (b SCTP) encode(srcPort, dstPort uint16, a *sctpAnswer) {
	binary.BigEndian.PutUint16(b[sctpSrcPort:], srcPort)
	binary.BigEndian.PutUint16(b[sctpDstPort:], dstPort)
	binary.BigEndian.PutUint32(b[sctpTag:], a.tag)
	b[SCTPLen], b[SCTPLen+1] = a.typ, a.flags
	binary.BigEndian.PutUint16(b[SCTPLen+2:], SCTPChunkLen)
	b.SetChecksum(b.CalculateChecksum())
}
