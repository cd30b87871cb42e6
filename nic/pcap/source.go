package pcap

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
)

// source is what pcapgo's readers have in common. The data are valid until the
// next call.
type source interface {
	ZeroCopyReadPacketData() ([]byte, gopacket.CaptureInfo, error)
}

// The first four bytes of a capture as a little-endian number. A pcap file
// that begins with one of the latter of a pair is big-endian.
const (
	magicGzip       = 0x8b1f // the first two bytes
	magicMicros     = 0xa1b2c3d4
	magicMicrosBig  = 0xd4c3b2a1
	magicNanos      = 0xa1b23c4d
	magicNanosBig   = 0x4d3cb2a1
	fileHeader      = 24 // length in bytes of a pcap file's header
	offLinkType     = 20 // in it; the upper half says other things
	linkTypeNetwork = uint32(layers.LinkTypeEthernet)
)

// errNotCapture is what comes of files of other kinds.
var errNotCapture = errors.New("this is neither a pcap nor a pcapng file")

// newSource finds out what kind of file r is.
func newSource(r io.Reader) (source, error) {
	br := bufio.NewReader(r)
	head, err := peek(br, 4)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint16(head) == magicGzip {
		gz, err := gzip.NewReader(br)
		if err != nil {
			return nil, err
		}
		br = bufio.NewReader(gz)
		if head, err = peek(br, 4); err != nil {
			return nil, err
		}
	}
	switch binary.LittleEndian.Uint32(head) {
	case blockSection:
		return pcapgo.NewNgReader(newBlockReader(br), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	case magicMicros, magicNanos:
		return newClassic(br, binary.LittleEndian)
	case magicMicrosBig, magicNanosBig:
		return newClassic(br, binary.BigEndian)
	}
	return nil, errNotCapture
}

// peek returns the first n bytes without taking them.
func peek(br *bufio.Reader, n int) ([]byte, error) {
	head, err := br.Peek(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errNotCapture
	}
	return head, err
}

// newClassic reads a pcap file. pcapgo keeps eight bits of the link type, so it
// is looked at here; and it takes the file's word for the longest frame, which
// many writers do not keep.
func newClassic(br *bufio.Reader, order binary.ByteOrder) (source, error) {
	head, err := peek(br, fileHeader)
	if err != nil {
		return nil, err
	}
	if err := checkLinkType(order.Uint32(head[offLinkType:]) & 0xffff); err != nil {
		return nil, err
	}
	r, err := pcapgo.NewReader(br)
	if err != nil {
		return nil, err
	}
	r.SetSnaplen(MaxFrame)
	return r, nil
}

// checkLink refuses a frame of a pcapng file from an interface that is not an
// Ethernet. pcapgo gives the interface's link type beside the frame.
func checkLink(info gopacket.CaptureInfo) error {
	if len(info.AncillaryData) == 0 {
		return nil // a pcap file: one link type for all frames
	}
	t, _ := info.AncillaryData[0].(layers.LinkType)
	return checkLinkType(uint32(t))
}

// checkLinkType refuses all but Ethernet (LINKTYPE_ETHERNET).
func checkLinkType(t uint32) error {
	if t != linkTypeNetwork {
		return fmt.Errorf("link type %d: only Ethernet captures (link type %d) can be replayed; capture on one interface, not on \"any\"",
			t, linkTypeNetwork)
	}
	return nil
}
