package guard

import (
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"vsnat/nic"
)

// loopbackIndex is lo's ifindex in every namespace (net/core/dev.c).
const loopbackIndex = 1

// localMax is how many addresses of the host there is room for.
const localMax = 1 << 14

// tcx is the backend with a BPF program. Program, maps and links live as long
// as their file descriptors; nothing is pinned. The memory of the maps is
// charged to the control group, not to RLIMIT_MEMLOCK: since Linux 5.11, and
// tcx is younger.
type tcx struct {
	maps     [numTables]*ebpf.Map
	wide     *ebpf.Map // holds the array of wide selectors
	networks *ebpf.Map // a trie
	flowMap  *ebpf.Map
	counters nic.Flows // its memory
	counts   *ebpf.Map // per CPU; index is a drop kind
	program  *ebpf.Program
	links    map[int]link.Link // by ifindex
}

var _ backend = (*tcx)(nil)

// openTCX loads the program, and attaches it to lo for a moment to see that it
// is allowed.
func openTCX(maxKeys int) (*tcx, error) {
	b := &tcx{links: make(map[int]link.Link)}
	if err := b.load(maxKeys); err != nil {
		return nil, errors.Join(tcxError("load the BPF program", err), b.close())
	}
	l, err := b.attachIndex(loopbackIndex)
	if err == nil {
		err = l.Close()
	}
	if err != nil {
		return nil, errors.Join(tcxError("attach the BPF program", err), b.close())
	}
	return b, nil
}

// tcxError says what the kernel lacks, or what this process lacks.
func tcxError(what string, err error) error {
	switch {
	case errors.Is(err, ebpf.ErrNotSupported):
		return &nic.Feature{Name: "tcx", MinKernel: "6.6", Err: err}
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("tcx: cannot %s (it needs CAP_BPF and CAP_NET_ADMIN outside any user namespace): %w", what, err)
	}
	return fmt.Errorf("tcx: cannot %s: %w", what, err)
}

// load makes the maps and the program.
func (b *tcx) load(maxKeys int) error {
	sizes := [numTables]int{services: maxKeys, servers: maxKeys, local: localMax}
	for t := range b.maps {
		m, err := ebpf.NewMap(&ebpf.MapSpec{
			Name:       "vsnat_guard",
			Type:       ebpf.Hash,
			KeySize:    keyLen,
			ValueSize:  1,
			MaxEntries: uint32(sizes[t]),
			Flags:      unix.BPF_F_NO_PREALLOC, // most directors need a few entries only
		})
		if err != nil {
			return err
		}
		b.maps[t] = m
	}
	err := errors.Join(b.loadWide(), b.loadNetworks(), b.loadFlows())
	if err != nil {
		return err
	}
	b.counts, err = ebpf.NewMap(&ebpf.MapSpec{
		Name:       "vsnat_guard",
		Type:       ebpf.PerCPUArray,
		KeySize:    4,
		ValueSize:  8,
		MaxEntries: numDrops,
	})
	if err != nil {
		return err
	}
	b.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name:         "vsnat_guard",
		Type:         ebpf.SchedCLS,
		AttachType:   ebpf.AttachTCXIngress,
		Instructions: tcxProgram(&b.maps, b.wide, b.networks, b.flowMap, b.counts),
	})
	return err
}

// add does all or nothing: after an error the kernel's count is not to be
// trusted, as it is not set when the kernel gives up early.
func (b *tcx) add(t tableID, keys []key) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	_, err := b.maps[t].BatchUpdate(keys, make([]uint8, len(keys)), nil)
	if err == nil {
		return len(keys), nil
	}
	if errors.Is(err, unix.E2BIG) {
		err = fmt.Errorf("there is room for %d (Options.MaxKeys): %w", b.maps[t].MaxEntries(), err)
	}
	_, errBack := b.deleteEach(t, keys)
	return 0, errors.Join(err, errBack)
}

func (b *tcx) del(t tableID, keys []key) (int, error) {
	if len(keys) == 0 {
		return 0, nil
	}
	if _, err := b.maps[t].BatchDelete(keys, nil); err == nil {
		return len(keys), nil
	}
	return b.deleteEach(t, keys)
}

// deleteEach deletes keys of which some may be gone already, and returns how
// many, from the first on, are gone.
func (b *tcx) deleteEach(t tableID, keys []key) (int, error) {
	for i, k := range keys {
		if err := b.maps[t].Delete(k); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return i, err
		}
	}
	return len(keys), nil
}

func (b *tcx) attach(dev *net.Interface) error {
	l, err := b.attachIndex(dev.Index)
	if err != nil {
		return err
	}
	b.links[dev.Index] = l
	return nil
}

func (b *tcx) attachIndex(ifindex int) (link.Link, error) {
	return link.AttachTCX(link.TCXOptions{
		Interface: ifindex,
		Program:   b.program,
		Attach:    ebpf.AttachTCXIngress,
		Anchor:    link.Head(),
	})
}

func (b *tcx) detach(ifindex int) error {
	l := b.links[ifindex]
	delete(b.links, ifindex)
	return l.Close()
}

func (b *tcx) stats() (Stats, error) {
	var sum [numDrops]uint64
	for kind := range sum {
		var perCPU []uint64
		if err := b.counts.Lookup(uint32(kind), &perCPU); err != nil {
			return Stats{}, err
		}
		for _, n := range perCPU {
			sum[kind] += n
		}
	}
	return Stats{Services: sum[dropService], Servers: sum[dropServer], Errors: sum[dropError]}, nil
}

func (b *tcx) close() error {
	var errs []error
	for _, l := range b.links {
		errs = append(errs, l.Close())
	}
	// Program and Map allow Close on nil.
	errs = append(errs, b.program.Close(), b.counts.Close(), b.wide.Close(), b.networks.Close(), b.flowMap.Close())
	for _, m := range b.maps {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
