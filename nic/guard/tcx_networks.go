package guard

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// A network's key in the trie: the number of bits that count, in native order, and
// then these bits: the family in 4 bytes, in native order, and the address.
const (
	netBits   = 0
	netFamily = 4
	netAddr   = 8
	netLen    = 24
)

// stkNet is where the program puts such a key.
const stkNet = -184

func (b *tcx) loadNetworks() (err error) {
	b.networks, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "vsnat_guard", Type: ebpf.LPMTrie, KeySize: netLen, ValueSize: 1,
		MaxEntries: 2 * MaxNetworks, Flags: unix.BPF_F_NO_PREALLOC,
	})
	return err
}

func packNetwork(p netip.Prefix) (k [netLen]byte) {
	bits, family, a := p.Bits(), uint32(6), p.Addr().As16()
	if p.Addr().Is4() {
		bits, family = bits+96, 4
	}
	binary.NativeEndian.PutUint32(k[netBits:], uint32(32+bits))
	binary.NativeEndian.PutUint32(k[netFamily:], family)
	copy(k[netAddr:], a[:])
	return k
}

// setNetworks has those that are in both lists stay all the while.
func (b *tcx) setNetworks(old, list []netip.Prefix) error {
	fresh := make(map[netip.Prefix]bool, len(list))
	for _, p := range list {
		fresh[p] = true
		if err := b.networks.Put(packNetwork(p), uint8(1)); err != nil {
			return err
		}
	}
	for _, p := range old {
		if fresh[p] {
			continue
		}
		if err := b.networks.Delete(packNetwork(p)); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
	}
	return nil
}

// findNetwork jumps to label if the key's address is in a network.
func (p *program) findNetwork(key int16, label string) {
	p.emit(
		asm.StoreImm(asm.RFP, stkNet+netBits, 32+128, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, key+keyFamily, asm.Byte),
		asm.StoreMem(asm.RFP, stkNet+netFamily, asm.R1, asm.Word),
		asm.LoadMem(asm.R1, asm.RFP, key+keyAddr, asm.DWord),
		asm.StoreMem(asm.RFP, stkNet+netAddr, asm.R1, asm.DWord),
		asm.LoadMem(asm.R1, asm.RFP, key+keyAddr+8, asm.DWord),
		asm.StoreMem(asm.RFP, stkNet+netAddr+8, asm.R1, asm.DWord),
		asm.LoadMapPtr(asm.R1, p.networks.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP),
		asm.Add.Imm(asm.R2, stkNet),
		asm.FnMapLookupElem.Call(),
		asm.JNE.Imm(asm.R0, 0, label),
	)
}
