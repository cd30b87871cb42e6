package guard

import (
	"os"
	"unsafe"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// loadFlows makes the counters of flows, and maps them into this process. They stay
// mapped until it ends, so that whoever still counts there writes to memory.
func (b *tcx) loadFlows() (err error) {
	b.flowMap, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "vsnat_guard", Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: nic.FlowSlots, Flags: unix.BPF_F_MMAPABLE,
	})
	if err != nil {
		return err
	}
	mem, err := unix.Mmap(b.flowMap.FD(), 0, 8*nic.FlowSlots, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	// Sound: mem is as long, begins at a page, and is never unmapped.
	b.counters = unsafe.Slice((*uint64)(unsafe.Pointer(&mem[0])), nic.FlowSlots)
	return nil
}
