package pcap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// The block types of pcapng (draft-ietf-opsawg-pcapng, section 11.1) that
// pcapgo reads, and what it needs of them. It skips all others.
const (
	blockInterface  = 1
	blockOldPacket  = 2
	blockSimple     = 3
	blockStatistics = 5
	blockPacket     = 6
	blockSection    = 0x0a0d0d0a // the same in either byte order

	byteOrderMagic = 0x1a2b3c4d
	optionEnd      = 0
	optionTSResol  = 9 // of an interface: the unit of its times

	blockHead = 8 // type and length; the length stands at the end as well
	blockTail = 4
	// maxBlock bounds the memory in bytes of one block.
	maxBlock = 16 << 20
)

var errBlock = errors.New("a pcapng block is shorter than its content")

// blockReader passes a pcapng stream on, block by block, each after a look at
// what pcapgo takes on trust and would allocate, divide by or lose its place
// over: lengths of blocks, options and frames, and the units of time.
type blockReader struct {
	r     io.LimitedReader
	order binary.ByteOrder // of the section
	block bytes.Buffer
	rest  []byte // the part of the block that was not passed on yet
	err   error
	snap  []uint32 // longest frame of each interface of the section; 0 is unlimited
}

func newBlockReader(r io.Reader) *blockReader {
	return &blockReader{r: io.LimitedReader{R: r}, order: binary.LittleEndian}
}

// Read reads from the current block, and then from the next.
func (b *blockReader) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		if b.err == nil {
			b.err = b.next()
		}
		if b.err != nil {
			return 0, b.err
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// next reads a block and checks it. It returns io.EOF only between blocks.
func (b *blockReader) next() error {
	b.block.Reset()
	if err := b.more(blockHead); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(b.block.Bytes()) == blockSection {
		// Its byte order follows its length, in which it matters.
		if err := b.section(); err != nil {
			return noEOF(err)
		}
	}
	size := b.order.Uint32(b.block.Bytes()[4:])
	switch {
	case int64(size) < int64(b.block.Len()+blockTail), size%4 != 0:
		return fmt.Errorf("a pcapng block of %d bytes", size)
	case size > maxBlock:
		return fmt.Errorf("a pcapng block of %d bytes: at most %d are read", size, maxBlock)
	}
	if err := b.more(int(size) - b.block.Len()); err != nil {
		return noEOF(err)
	}
	block := b.block.Bytes()
	body, tail := block[blockHead:len(block)-blockTail], block[len(block)-blockTail:]
	if n := b.order.Uint32(tail); n != size {
		return fmt.Errorf("a pcapng block of %d bytes that ends as one of %d", size, n)
	}
	if err := b.check(b.order.Uint32(block), body); err != nil {
		return err
	}
	b.rest = block
	return nil
}

// more reads the next n bytes of the block. Memory grows with what is there,
// not with what the file says is.
func (b *blockReader) more(n int) error {
	b.r.N = int64(n)
	got, err := b.block.ReadFrom(&b.r)
	if err == nil && got < int64(n) {
		err = io.ErrUnexpectedEOF
		if b.block.Len() == 0 {
			err = io.EOF
		}
	}
	return err
}

// noEOF makes the end of the file one that comes too early.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// section begins a new section: it has its own byte order and interfaces.
func (b *blockReader) section() error {
	if err := b.more(4); err != nil {
		return err
	}
	switch magic := b.block.Bytes()[blockHead:]; {
	case binary.LittleEndian.Uint32(magic) == byteOrderMagic:
		b.order = binary.LittleEndian
	case binary.BigEndian.Uint32(magic) == byteOrderMagic:
		b.order = binary.BigEndian
	default:
		return fmt.Errorf("a pcapng section with byte order %x", magic)
	}
	b.snap = b.snap[:0]
	return nil
}

// fixed returns the length in bytes of a block's fixed part, which pcapgo reads
// before any frame or options.
func fixed(typ uint32) int {
	switch typ {
	case blockSection:
		return 16
	case blockInterface:
		return 8
	case blockStatistics:
		return 12
	case blockPacket, blockOldPacket:
		return 20
	case blockSimple:
		return 4
	}
	return 0
}

// check looks into the body of a block.
func (b *blockReader) check(typ uint32, body []byte) error {
	n := fixed(typ)
	if len(body) < n {
		return errBlock
	}
	head, rest := body[:n], body[n:]
	switch typ {
	case blockSection, blockStatistics:
		return b.options(rest, nil)
	case blockInterface:
		return b.iface(head, rest)
	case blockPacket, blockOldPacket:
		return checkFrame(b.order.Uint32(head[12:]), rest)
	case blockSimple:
		n := b.order.Uint32(head)
		if len(b.snap) > 0 && b.snap[0] != 0 {
			n = min(n, b.snap[0])
		}
		return checkFrame(n, rest)
	}
	return nil
}

// checkFrame checks the length of a frame against the limit and what is left of
// its block.
func checkFrame(n uint32, rest []byte) error {
	if n > MaxFrame {
		return fmt.Errorf("it has %d bytes: at most %d are read", n, MaxFrame)
	}
	if int(n) > len(rest) {
		return errBlock
	}
	return nil
}

// iface checks an interface's description. pcapgo allocates what it says is the
// longest frame, so no more than our limit is left there.
func (b *blockReader) iface(head, list []byte) error {
	link := b.order.Uint16(head)
	if link > 0xff {
		// pcapgo keeps eight bits of it.
		return checkLinkType(uint32(link))
	}
	snap := min(b.order.Uint32(head[4:]), MaxFrame)
	b.order.PutUint32(head[4:], snap)
	b.snap = append(b.snap, snap)
	return b.options(list, checkUnit)
}

// checkUnit checks an interface's unit of time. pcapgo gets powers of two
// wrong, and ten to the 20th does not fit its 64 bits.
func checkUnit(code uint16, value []byte) error {
	switch {
	case code != optionTSResol || len(value) == 0:
		return nil
	case value[0]&0x80 != 0:
		return fmt.Errorf("times in units of 2^-%d seconds: only powers of ten are read", value[0]&0x7f)
	case value[0] > 19:
		return fmt.Errorf("times in units of 10^-%d seconds: at most 10^-19 are read", value[0])
	}
	return nil
}

// options walks a list of options as pcapgo does, which must end with the list.
func (b *blockReader) options(list []byte, look func(code uint16, value []byte) error) error {
	for len(list) > 0 {
		if len(list) < 4 {
			return errBlock
		}
		code, n := b.order.Uint16(list), int(b.order.Uint16(list[2:]))
		padded := (n + 3) &^ 3
		// pcapgo counts padded lengths in 16 bits.
		if padded > len(list)-4 || padded > 0xffff {
			return errBlock
		}
		if code == optionEnd {
			return nil
		}
		if look != nil {
			if err := look(code, list[4:4+n]); err != nil {
				return err
			}
		}
		list = list[4+padded:]
	}
	return nil
}
