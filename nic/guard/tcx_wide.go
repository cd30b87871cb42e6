package guard

import (
	"errors"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

// The wide selectors are an array that is made anew for each change and put in
// place of the old one at once, as the only element of another map.

func wideSpec() *ebpf.MapSpec {
	return &ebpf.MapSpec{Name: "vsnat_guard", Type: ebpf.Array, KeySize: 4, ValueSize: wideLen, MaxEntries: MaxWide}
}

// loadWide makes the outer map, with an empty list.
func (b *tcx) loadWide() (err error) {
	b.wide, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "vsnat_guard", Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4, MaxEntries: 1, InnerMap: wideSpec(),
	})
	if err != nil {
		return err
	}
	return b.setWide(nil)
}

func (b *tcx) setWide(list []Wide) error {
	inner, err := ebpf.NewMap(wideSpec())
	if err != nil {
		return err
	}
	for i := range list {
		if err := inner.Put(uint32(i), list[i].pack()); err != nil {
			return errors.Join(err, inner.Close())
		}
	}
	// The outer map keeps the list, this process need not.
	return errors.Join(b.wide.Put(uint32(0), inner), inner.Close())
}

// skbIfindex is the offset of the receiving interface in struct __sk_buff
// (include/uapi/linux/bpf.h).
const skbIfindex = 40

// Registers in the search through the wide selectors, which comes after the
// headers have been read: the list and the place in it.
const (
	regList  = regL3
	regPlace = regL4
)

// findWide jumps to label if the first wide selector that takes the packet is a
// service's. The packet is from src to dst; its destination port is the one of
// stkPorts at port, and regProto its protocol. With also, another key's address
// must be a destination of the selector, too.
func (p *program) findWide(dst, src, port int16, label string, also ...int16) {
	done, loop, next := p.unique(), p.unique(), p.unique()
	p.emit(
		asm.StoreImm(asm.RFP, stkIndex, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, p.wide.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stkIndex),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, done),
		asm.Mov.Reg(regList, asm.R0),
		asm.Mov.Imm(regPlace, 0),
	)
	p.label(loop)
	p.emit(
		asm.StoreMem(asm.RFP, stkIndex, regPlace, asm.Word),
		asm.Mov.Reg(asm.R1, regList),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stkIndex),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, done),
		asm.LoadMem(asm.R1, asm.R0, wideWhose, asm.Byte),
		asm.JEq.Imm(asm.R1, wideEnd, done),
	)
	p.sameOrAny(wideFamily, asm.Byte, next, asm.LoadMem(asm.R3, asm.RFP, dst+keyFamily, asm.Byte))
	p.sameOrAny(wideProto, asm.Byte, next, asm.Mov.Reg(asm.R3, regProto))
	p.sameOrAny(wideIfindex, asm.Word, next, asm.LoadMem(asm.R3, regSKB, skbIfindex, asm.Word))
	p.emit(
		asm.LoadMem(asm.R3, asm.RFP, stkPorts+port, asm.Half),
		asm.HostTo(asm.BE, asm.R3, asm.Half),
		asm.LoadMem(asm.R2, asm.R0, wideFirst, asm.Half),
		asm.JLT.Reg(asm.R3, asm.R2, next),
		asm.LoadMem(asm.R2, asm.R0, wideLast, asm.Half),
		asm.JGT.Reg(asm.R3, asm.R2, next),
	)
	p.inPrefix(dst, wideDst, wideDstMask, next)
	p.inPrefix(src, wideSrc, wideSrcMask, next)
	for _, key := range also {
		p.inPrefix(key, wideDst, wideDstMask, next)
	}
	p.emit(
		asm.JEq.Imm(asm.R1, wideOurs, label),
		asm.Ja.Label(done),
	)
	p.label(next)
	p.emit(
		asm.Add.Imm(regPlace, 1),
		asm.JLT.Imm(regPlace, MaxWide, loop),
	)
	p.label(done)
}

// sameOrAny jumps to differs unless the selector's field is 0, or what load
// brings to R3.
func (p *program) sameOrAny(field int16, size asm.Size, differs string, load asm.Instruction) {
	ok := p.unique()
	p.emit(
		asm.LoadMem(asm.R2, asm.R0, field, size),
		asm.JEq.Imm(asm.R2, 0, ok),
		load,
		asm.JNE.Reg(asm.R2, asm.R3, differs),
	)
	p.label(ok)
}

// inPrefix jumps to differs unless the key's address is in the selector's
// prefix.
func (p *program) inPrefix(key, addr, mask int16, differs string) {
	for half := int16(0); half < 16; half += 8 {
		p.emit(
			asm.LoadMem(asm.R2, asm.RFP, key+keyAddr+half, asm.DWord),
			asm.LoadMem(asm.R3, asm.R0, mask+half, asm.DWord),
			asm.And.Reg(asm.R2, asm.R3),
			asm.LoadMem(asm.R3, asm.R0, addr+half, asm.DWord),
			asm.JNE.Reg(asm.R2, asm.R3, differs),
		)
	}
}
