package guard

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// Why a frame was dropped: an index of the counters.
const (
	dropService = iota
	dropServer
	dropError
	numDrops
)

// Verdicts of a tcx program (enum tcx_action_base, include/uapi/linux/bpf.h).
const (
	tcxNext = -1
	tcxDrop = 2
)

// vlanID are the bits of a tag that number the VLAN. In a tag that has but a
// priority they are 0.
const vlanID = 0x0fff

// etherLen is the length of an Ethernet header in bytes.
const etherLen = 14

// Offsets in struct __sk_buff (include/uapi/linux/bpf.h).
const (
	skbPktType     = 4
	skbProtocol    = 16 // network byte order
	skbVLANPresent = 20
	skbVLANTCI     = 24
)

// Registers that outlive calls.
const (
	regSKB   = asm.R6
	regL3    = asm.R7 // offset of the IP header in the frame
	regL4    = asm.R8 // offset of what follows it
	regProto = asm.R9 // what that is
)

// The stack, from the frame pointer down. A key is keyLen bytes; its place is
// rounded up to 24, as the verifier wants addresses aligned.
const (
	stkDst      = -24  // key: destination
	stkSrc      = -48  // key: source
	stkInnerDst = -72  // key: destination of the packet that an ICMP error is about
	stkInnerSrc = -96  // key: source of the same
	stkHeader   = -136 // 40 bytes: an IP header
	stkPorts    = -144 // 8 bytes: both ports, or the start of an extension header
	stkKind     = -152 // 4 bytes: index of the counter
	stkIndex    = -160 // 4 bytes: place in the list of wide selectors
	// stkNet is next.
)

// maxExtensions is how many IPv6 extension headers are stepped over, as in
// nat/wire.
const maxExtensions = 8

// tcxProgram returns the program. It reads the frame only through
// bpf_skb_load_bytes, because all but the Ethernet header may lie in pages.
//
//	outer IP header -> destination and source
//	TCP, UDP, SCTP: destination is a service            -> drop
//	                of a flow that was told             -> drop
//	                the first wide selector is one's    -> drop
//	                source a server or in a network, destination remote -> drop
//	echo request:   source in a network, destination remote -> drop
//	ICMP error:     embedded IP header -> inner destination and source
//	                inner source a service, destination one too -> drop
//	                the first wide selector is a service's      -> drop
//	                inner destination a server or in a network, destination remote -> drop
//	all else -> next
func tcxProgram(maps *[numTables]*ebpf.Map, wide, networks, flows, counts *ebpf.Map) asm.Instructions {
	p := &program{maps: maps, wide: wide, networks: networks, flows: flows}
	p.emit(
		asm.Mov.Reg(regSKB, asm.R1),

		asm.LoadMem(asm.R1, regSKB, skbPktType, asm.Word),
		asm.JNE.Imm(asm.R1, unix.PACKET_HOST, "next"),
		asm.LoadMem(asm.R1, regSKB, skbVLANPresent, asm.Word),
		asm.JEq.Imm(asm.R1, 0, "no VLAN"),
		asm.LoadMem(asm.R1, regSKB, skbVLANTCI, asm.Word),
		asm.And.Imm(asm.R1, vlanID),
		asm.JNE.Imm(asm.R1, 0, "next"),
	)
	p.label("no VLAN")
	p.emit(
		asm.Mov.Imm(regL3, etherLen),
		asm.LoadMem(asm.R1, regSKB, skbProtocol, asm.Word),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JEq.Imm(asm.R1, unix.ETH_P_IPV6, "ipv6"),
		asm.JNE.Imm(asm.R1, unix.ETH_P_IP, "next"),
	)
	p.parse4(stkDst, stkSrc)
	p.emit(asm.JNE.Imm(regProto, unix.IPPROTO_ICMP, "transport"))
	p.icmpType(8, 3, 4, 11, 12)
	p.parse4(stkInnerDst, stkInnerSrc)
	p.emit(asm.Ja.Label("error"))

	p.label("ipv6")
	p.parse6(stkDst, stkSrc)
	p.emit(asm.JNE.Imm(regProto, unix.IPPROTO_ICMPV6, "transport"))
	p.icmpType(128, 1, 2, 3, 4)
	p.parse6(stkInnerDst, stkInnerSrc)
	p.emit(asm.Ja.Label("error"))

	p.label("transport")
	p.ports(stkDst, stkSrc)
	p.find(services, stkDst, "service")
	p.anyPort(services, stkDst, "service")
	p.ifIPsec("ipsec")
	p.findFlow(stkDst, stkSrc, "service")
	p.findWide(stkDst, stkSrc, 2, "service")
	p.find(servers, stkSrc, "from server")
	p.anyPort(servers, stkSrc, "from server")
	p.label("echo")
	p.findNetwork(stkSrc, "from server")
	p.emit(asm.Ja.Label("next"))
	p.label("ipsec")
	p.anyPort(servers, stkSrc, "from server")
	p.emit(asm.Ja.Label("next"))
	p.label("from server")
	p.findLocal(stkDst, "next")
	p.drop(dropServer)

	p.label("service")
	p.drop(dropService)

	p.label("error")
	p.ports(stkInnerDst, stkInnerSrc)
	p.find(services, stkInnerSrc, "from service")
	p.anyPort(services, stkInnerSrc, "from service")
	p.emit(asm.Ja.Label("to server"))

	// Like the inner source, the destination must be a service's address.
	p.label("from service")
	p.emit(
		asm.StoreMem(asm.RFP, stkDst+keyProto, regProto, asm.Byte),
		asm.LoadMem(asm.R1, asm.RFP, stkPorts, asm.Half),
		asm.StoreMem(asm.RFP, stkDst+keyPort, asm.R1, asm.Half),
	)
	p.find(services, stkDst, "error of ours")
	p.anyPort(services, stkDst, "error of ours")

	p.label("to server")
	p.ifIPsec("ipsec to server")
	p.findWide(stkInnerSrc, stkInnerDst, 0, "error of ours", stkDst)
	p.findLocal(stkDst, "next")
	p.find(servers, stkInnerDst, "error of ours")
	p.anyPort(servers, stkInnerDst, "error of ours")
	p.findNetwork(stkInnerDst, "error of ours")
	p.emit(asm.Ja.Label("next"))

	p.label("ipsec to server")
	p.findLocal(stkDst, "next")
	p.anyPort(servers, stkInnerDst, "error of ours")
	p.emit(asm.Ja.Label("next"))

	p.label("error of ours")
	p.drop(dropError)

	p.label("next")
	p.emit(asm.Mov.Imm(asm.R0, tcxNext), asm.Return())

	p.label("drop")
	p.emit(
		asm.LoadMapPtr(asm.R1, counts.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stkKind),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "dropped"), // never: the index is in range; the verifier does not know
		// The counter is this CPU's own and frames of one CPU come in one by one.
		asm.LoadMem(asm.R1, asm.R0, 0, asm.DWord),
		asm.Add.Imm(asm.R1, 1),
		asm.StoreMem(asm.R0, 0, asm.R1, asm.DWord),
	)
	p.label("dropped")
	p.emit(asm.Mov.Imm(asm.R0, tcxDrop), asm.Return())
	return p.ins
}

// program is the BPF program under construction.
type program struct {
	ins      asm.Instructions
	maps     *[numTables]*ebpf.Map
	wide     *ebpf.Map
	networks *ebpf.Map
	flows    *ebpf.Map
	pending  string // label of the next instruction
	labels   int    // how many labels have been made up
}

// field says which key a part of a header belongs to, and where in the header
// it is.
type field struct{ key, at int16 }

// emit appends instructions.
func (p *program) emit(ins ...asm.Instruction) {
	if p.pending != "" {
		ins[0] = ins[0].WithSymbol(p.pending)
		p.pending = ""
	}
	p.ins = append(p.ins, ins...)
}

// label names the next instruction.
func (p *program) label(name string) {
	if p.pending != "" {
		p.emit(asm.Ja.Label(name)) // an instruction can have one name only
	}
	p.pending = name
}

// unique returns a label that is used nowhere else.
func (p *program) unique() string {
	p.labels++
	return fmt.Sprint("l", p.labels)
}

// load reads n bytes of the frame, from the offset in a register on, to the
// stack, and leaves the program if the frame is shorter.
func (p *program) load(offset asm.Register, stk, n int32) {
	p.emit(
		asm.Mov.Reg(asm.R1, regSKB),
		asm.Mov.Reg(asm.R2, offset),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, stk),
		asm.Mov.Imm(asm.R4, n),
		asm.FnSkbLoadBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "next"),
	)
}

// parse4 reads the IPv4 header at regL3 (RFC 791 section 3.1): addresses and
// family to the keys, regL4 and regProto. Later fragments leave the program.
func (p *program) parse4(dst, src int16) {
	p.load(regL3, stkHeader, 20)
	p.emit(
		asm.LoadMem(asm.R1, asm.RFP, stkHeader, asm.Byte),
		asm.Mov.Reg(regL4, asm.R1),
		asm.RSh.Imm(asm.R1, 4),
		asm.JNE.Imm(asm.R1, 4, "next"),
		asm.And.Imm(regL4, 0xf),
		asm.LSh.Imm(regL4, 2),
		asm.JLT.Imm(regL4, 20, "next"),
		asm.Add.Reg(regL4, regL3),

		asm.LoadMem(asm.R1, asm.RFP, stkHeader+6, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.And.Imm(asm.R1, 0x1fff),
		asm.JNE.Imm(asm.R1, 0, "next"),

		asm.LoadMem(regProto, asm.RFP, stkHeader+9, asm.Byte),
	)
	for _, f := range [2]field{{src, 12}, {dst, 16}} {
		p.emit(
			asm.StoreImm(asm.RFP, f.key+keyAddr, 0, asm.Word),
			asm.StoreImm(asm.RFP, f.key+keyAddr+4, 0, asm.Word),
			asm.StoreImm(asm.RFP, f.key+keyAddr+8, 0, asm.Half),
			asm.StoreImm(asm.RFP, f.key+keyAddr+10, -1, asm.Half),
			asm.LoadMem(asm.R1, asm.RFP, stkHeader+f.at, asm.Word),
			asm.StoreMem(asm.RFP, f.key+keyAddr+12, asm.R1, asm.Word),
			asm.StoreImm(asm.RFP, f.key+keyFamily, 4, asm.Byte),
		)
	}
}

// parse6 does the same with the IPv6 header at regL3 and the extension headers
// that follow (RFC 8200 sections 3 and 4).
func (p *program) parse6(dst, src int16) {
	p.load(regL3, stkHeader, 40)
	p.emit(
		asm.LoadMem(asm.R1, asm.RFP, stkHeader, asm.Byte),
		asm.RSh.Imm(asm.R1, 4),
		asm.JNE.Imm(asm.R1, 6, "next"),
		asm.Mov.Reg(regL4, regL3),
		asm.Add.Imm(regL4, 40),
		asm.LoadMem(regProto, asm.RFP, stkHeader+6, asm.Byte),
	)
	for _, f := range [2]field{{src, 8}, {dst, 24}} {
		p.emit(
			asm.LoadMem(asm.R1, asm.RFP, stkHeader+f.at, asm.DWord),
			asm.StoreMem(asm.RFP, f.key+keyAddr, asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.RFP, stkHeader+f.at+8, asm.DWord),
			asm.StoreMem(asm.RFP, f.key+keyAddr+8, asm.R1, asm.DWord),
			asm.StoreImm(asm.RFP, f.key+keyFamily, 6, asm.Byte),
		)
	}
	done := p.unique()
	for range maxExtensions {
		p.extension(done)
	}
	p.label(done)
}

// extension steps over one IPv6 extension header, or jumps to done if there is
// none. Later fragments leave the program.
func (p *program) extension(done string) {
	known, ah, plain, over := p.unique(), p.unique(), p.unique(), p.unique()
	p.emit(
		asm.JEq.Imm(regProto, unix.IPPROTO_HOPOPTS, known),
		asm.JEq.Imm(regProto, unix.IPPROTO_ROUTING, known),
		asm.JEq.Imm(regProto, unix.IPPROTO_DSTOPTS, known),
		asm.JEq.Imm(regProto, unix.IPPROTO_AH, known),
		asm.JNE.Imm(regProto, unix.IPPROTO_FRAGMENT, done),
	)
	p.label(known)
	p.load(regL4, stkPorts, 4)
	p.emit(
		asm.LoadMem(asm.R1, asm.RFP, stkPorts+1, asm.Byte), // length
		asm.Mov.Reg(asm.R2, regProto),
		asm.LoadMem(regProto, asm.RFP, stkPorts, asm.Byte),
		asm.JEq.Imm(asm.R2, unix.IPPROTO_AH, ah),
		asm.JNE.Imm(asm.R2, unix.IPPROTO_FRAGMENT, plain),

		asm.LoadMem(asm.R1, asm.RFP, stkPorts+2, asm.Half),
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.And.Imm(asm.R1, 0xfff8),
		asm.JNE.Imm(asm.R1, 0, "next"),
		asm.Add.Imm(regL4, 8),
		asm.Ja.Label(over),
	)
	p.label(ah) // RFC 4302 section 2.2: in words, less 2
	p.emit(
		asm.Add.Imm(asm.R1, 2),
		asm.LSh.Imm(asm.R1, 2),
		asm.Add.Reg(regL4, asm.R1),
		asm.Ja.Label(over),
	)
	p.label(plain) // in 8 bytes, less 1
	p.emit(
		asm.Add.Imm(asm.R1, 1),
		asm.LSh.Imm(asm.R1, 3),
		asm.Add.Reg(regL4, asm.R1),
	)
	p.label(over)
}

// icmpType jumps to "echo" if the ICMP message at regL4 is of type echo, and leaves
// the program unless it is of one of the others; then it sets regL3 to the packet
// inside (RFC 792, RFC 4443).
func (p *program) icmpType(echo int32, types ...int32) {
	found := p.unique()
	p.load(regL4, stkPorts, 1)
	p.emit(
		asm.LoadMem(asm.R1, asm.RFP, stkPorts, asm.Byte),
		asm.JEq.Imm(asm.R1, echo, "echo"),
	)
	for _, t := range types {
		p.emit(asm.JEq.Imm(asm.R1, t, found))
	}
	p.emit(asm.Ja.Label("next"))
	p.label(found)
	p.emit(
		asm.Mov.Reg(regL3, regL4),
		asm.Add.Imm(regL3, 8),
	)
}

// ports completes the keys with the protocol and the ports at regL4, which
// remain at stkPorts. Other protocols leave the program. What stands there in ESP
// and AH is no port, and they are found by port 0.
func (p *program) ports(dst, src int16) {
	has := p.unique()
	p.emit(
		asm.JEq.Imm(regProto, unix.IPPROTO_TCP, has),
		asm.JEq.Imm(regProto, unix.IPPROTO_UDP, has),
		asm.JEq.Imm(regProto, unix.IPPROTO_ESP, has),
		asm.JEq.Imm(regProto, unix.IPPROTO_AH, has),
		asm.JNE.Imm(regProto, unix.IPPROTO_SCTP, "next"),
	)
	p.label(has)
	p.load(regL4, stkPorts, 4)
	for _, f := range [2]field{{src, 0}, {dst, 2}} {
		p.emit(
			asm.LoadMem(asm.R1, asm.RFP, stkPorts+f.at, asm.Half),
			asm.StoreMem(asm.RFP, f.key+keyPort, asm.R1, asm.Half),
			asm.StoreMem(asm.RFP, f.key+keyProto, regProto, asm.Byte),
		)
	}
}

// ifIPsec jumps to label if the protocol is ESP or AH: of those only keys tell.
func (p *program) ifIPsec(label string) {
	p.emit(
		asm.JEq.Imm(regProto, unix.IPPROTO_ESP, label),
		asm.JEq.Imm(regProto, unix.IPPROTO_AH, label),
	)
}

// find jumps to label if the key is in the table.
func (p *program) find(t tableID, key int32, label string) {
	p.emit(
		asm.LoadMapPtr(asm.R1, p.maps[t].FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, key),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, label),
	)
}

// anyPort does the same with the key's port taken off.
func (p *program) anyPort(t tableID, key int16, label string) {
	p.emit(asm.StoreImm(asm.RFP, key+keyPort, 0, asm.Half))
	p.find(t, int32(key), label)
}

// findLocal jumps to label if the key's address is one of the host's; it takes
// the port and protocol off.
func (p *program) findLocal(key int16, label string) {
	p.emit(asm.StoreImm(asm.RFP, key+keyProto, 0, asm.Byte))
	p.anyPort(local, key, label)
}

// drop counts the frame and drops it.
func (p *program) drop(kind int64) {
	p.emit(
		asm.StoreImm(asm.RFP, stkKind, kind, asm.Word),
		asm.Ja.Label("drop"),
	)
}
