package guard

import (
	"errors"
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// nftChunk is how many set elements go to the kernel at once. An attribute
// holds 64 KiB and a netlink message must fit the socket's send buffer, 208 KiB
// by default; one element takes up to 36 bytes.
const nftChunk = 1024

// nft is the backend with an nftables table. The rules are in nft_rules.go.
type nft struct {
	conn     *nftables.Conn // owns the table
	table    *nftables.Table
	sets     [numTables][2]*nftables.Set // for IPv4 and IPv6
	networks [2]*nftables.Set
	wide     []*wideChains
	lists    int // of wide selectors so far
}

var _ backend = (*nft)(nil)

func openNFT() (*nft, error) {
	conn, t, err := openOwned()
	if err != nil {
		return nil, nftError("make a table", err)
	}
	b := &nft{conn: conn, table: t}
	if err := b.build(); err != nil {
		return nil, errors.Join(nftError("fill its table", err), b.close())
	}
	return b, nil
}

// nftError says what this process lacks.
func nftError(what string, err error) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("nft: cannot %s (it needs CAP_NET_ADMIN): %w", what, err)
	}
	return fmt.Errorf("nft: cannot %s: %w", what, err)
}

func (b *nft) add(t tableID, keys []key) (int, error) {
	return b.change(t, keys, b.conn.SetAddElements)
}

func (b *nft) del(t tableID, keys []key) (int, error) {
	return b.change(t, keys, b.conn.SetDeleteElements)
}

// change adds or deletes keys, chunk by chunk; a chunk is done whole or not at
// all.
func (b *nft) change(t tableID, keys []key, do func(*nftables.Set, []nftables.SetElement) error) (int, error) {
	for done := 0; done < len(keys); {
		chunk := keys[done:min(done+nftChunk, len(keys))]
		var elements [2][]nftables.SetElement
		for i := range chunk {
			f := ipv6
			if chunk[i].is4() {
				f = ipv4
			}
			elements[f] = append(elements[f], nftables.SetElement{Key: nftKey(t, &chunk[i])})
		}
		for f, e := range elements {
			if len(e) == 0 {
				continue
			}
			if err := do(b.sets[t][f], e); err != nil {
				return done, err
			}
		}
		if err := b.conn.Flush(); err != nil {
			return done, err
		}
		done += len(chunk)
	}
	return len(keys), nil
}

// nftKey returns a key as the set of that table has it: the address, or
// protocol, address and port, each in whole registers of 4 bytes.
func nftKey(t tableID, k *key) []byte {
	addr := k[keyAddr : keyAddr+16]
	if k.is4() {
		addr = addr[12:]
	}
	if t == local {
		return addr
	}
	e := append([]byte{k[keyProto], 0, 0, 0}, addr...)
	return append(e, k[keyPort], k[keyPort+1], 0, 0)
}

func (b *nft) attach(dev *net.Interface) error {
	b.addBase(dev)
	return b.conn.Flush()
}

func (b *nft) detach(ifindex int) error {
	b.conn.DelChain(&nftables.Chain{Table: b.table, Name: baseName(ifindex)})
	err := b.conn.Flush()
	if errors.Is(err, unix.ENOENT) {
		return nil // older kernels delete the chain along with its interface
	}
	return err
}

func (b *nft) stats() (Stats, error) {
	objs, err := b.conn.GetObjects(b.table)
	if err != nil {
		return Stats{}, err
	}
	n := make(map[string]uint64)
	for _, o := range objs {
		if c, ok := o.(*nftables.CounterObj); ok {
			n[c.Name] = c.Packets
		}
	}
	if len(n) != numDrops {
		return Stats{}, fmt.Errorf("nft: table %s has %d counters instead of %d", b.table.Name, len(n), numDrops)
	}
	return Stats{
		Services: n[counterNames[dropService]],
		Servers:  n[counterNames[dropServer]],
		Errors:   n[counterNames[dropError]],
	}, nil
}

// counter returns the named counter of the table.
func (b *nft) counter(name string) *nftables.CounterObj {
	return &nftables.CounterObj{Table: b.table, Name: name}
}

// close closes the socket; the table goes with it.
func (b *nft) close() error { return b.conn.CloseLasting() }

// objref counts the packet in a named counter.
func objref(kind int) expr.Any {
	return &expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: counterNames[kind]}
}
