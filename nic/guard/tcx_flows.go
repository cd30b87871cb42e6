package guard

import (
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// findFlow jumps to label if the packet is TCP's and of a flow that the set has:
// [nic.FlowSlot] of its source, destination and destination port.
func (p *program) findFlow(dst, src int16, label string) {
	done := p.unique()
	p.emit(
		asm.JNE.Imm(regProto, unix.IPPROTO_TCP, done),
		asm.LoadMem(asm.R1, asm.RFP, stkPorts+2, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.Mul.Imm32(asm.R1, nic.FlowPort),
	)
	for _, part := range []struct {
		key    int16
		factor int32
	}{{src, nic.FlowClient}, {dst, nic.FlowDst}} {
		p.emit(asm.LoadMem(asm.R2, asm.RFP, part.key+keyAddr, asm.Word))
		for at := int16(4); at < 16; at += 4 {
			p.emit(asm.LoadMem(asm.R3, asm.RFP, part.key+keyAddr+at, asm.Word), asm.Xor.Reg(asm.R2, asm.R3))
		}
		p.emit(asm.Mul.Imm32(asm.R2, part.factor), asm.Add.Reg32(asm.R1, asm.R2))
	}
	p.emit(
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.RSh.Imm32(asm.R2, nic.FlowShift),
		asm.Xor.Reg(asm.R1, asm.R2),
		asm.Mul.Imm32(asm.R1, nic.FlowLast),
		asm.RSh.Imm32(asm.R1, nic.FlowShift),
		asm.StoreMem(asm.RFP, stkIndex, asm.R1, asm.Word),
		asm.LoadMapPtr(asm.R1, p.flows.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stkIndex),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, done),
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.JNE.Imm(asm.R1, 0, label),
	)
	p.label(done)
}
