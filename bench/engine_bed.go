package bench

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"

	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/nic"
)

// The engine's surroundings in memory: clients everywhere behind NIC 1, the
// real servers behind NIC 2.
const (
	bedClients, bedServers = 1, 2 // ifindex
	bedServerCount         = 100
	bedPort                = 80
)

// IPv4 addresses as numbers.
const (
	bedVIP         = 192<<24 | 2<<8 | 1        // 192.0.2.1
	bedFirstServer = 10<<24 | 1<<8             // 10.0.1.0 and those that follow
	bedFirstClient = 100 << 24                 // 100.0.0.0 and those that follow
	bedSeed        = 0x9e3779b97f4a7c15        // of the flows' order
	bedFrame       = nic.VNetHdrLen + MinFrame // bytes of a frame's memory
)

func addr4(n uint32) [4]byte { return [4]byte(binary.BigEndian.AppendUint32(nil, n)) }

// mapped returns an IPv4 address as the engine has it.
func mapped(n uint32) (a nic.Addr) {
	a[10], a[11] = 0xff, 0xff
	binary.BigEndian.PutUint32(a[12:], n)
	return a
}

// bedRoutes are a host's routes that never change.
type bedRoutes struct{}

func (bedRoutes) Lookup(dst nic.Addr) nic.Hop {
	h := nic.Hop{State: nic.HopResolved, Index: bedClients, MTU: 1500, NextHop: dst, SrcMAC: [6]byte{2, 5: 1}, DstMAC: [6]byte{2, 5: 0x10}}
	if dst[12] == bedFirstServer>>24 {
		h.Index, h.SrcMAC[5], h.DstMAC[5] = bedServers, 2, 0x20
	}
	return h
}

func (bedRoutes) Local(a nic.Addr) bool     { return a == mapped(bedVIP) }
func (bedRoutes) Locals() []nic.Addr        { return []nic.Addr{mapped(bedVIP)} }
func (bedRoutes) Link(int) (nic.Link, bool) { return nic.Link{}, false }
func (bedRoutes) Links() []nic.Link         { return nil }
func (bedRoutes) Forwarding(int, bool) bool { return true }

// bedShape is what an engine is to have.
type bedShape struct {
	max       int // connections that there is to be room for
	services  int // TCP services, each with all of the servers
	servers   int
	scheduler string
}

// bedVIPs is how many VIPs many services have: then come further ports.
const bedVIPs = 250

// bedService returns the address and port of a service.
func bedService(i uint32) (address, port uint32) { return bedVIP + i%bedVIPs, bedPort + i/bedVIPs }

// bed is an engine with its connections.
type bed struct {
	shape  bedShape
	engine *nat.Engine
	conns  int
	server []uint8 // of every connection, as scheduled
	now    int64   // on the engine's clock
}

// newBed makes an engine with one service, rr, without connections. It is to have
// room for max.
func newBed(max int) (*bed, error) {
	return newBedOf(bedShape{max: max, services: 1, servers: bedServerCount, scheduler: "rr"})
}

// newBedOf makes an engine without connections.
func newBedOf(shape bedShape) (*bed, error) {
	e, err := nat.New(nat.Options{Conns: conntrack.Config{Max: shape.max, Seed: rand.Uint64()}})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	e.SetRoutes(bedRoutes{})
	e.Update(func(tx *nat.Tx) {
		for i := 0; i < shape.services && err == nil; i++ {
			err = addBedService(tx, uint32(i), &shape)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &bed{shape: shape, engine: e, now: 1e9}, nil
}

func addBedService(tx *nat.Tx, i uint32, shape *bedShape) error {
	address, port := bedService(i)
	key := nat.ServiceKey{Proto: nat.ProtoTCP, Addr: mapped(address), Port: uint16(port)}
	if err := tx.AddService(nat.ServiceSpec{Key: key, Scheduler: shape.scheduler}); err != nil {
		return err
	}
	for j := range uint32(shape.servers) {
		err := tx.AddServer(key, nat.ServerSpec{
			Key: nat.ServerKey{Addr: mapped(bedFirstServer + j), Port: bedPort}, Method: conntrack.Masq, Weight: 1,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// hand fills a batch with frames of flows, in memory of its own.
type hand struct {
	batch         nic.Batch
	template      [bedFrame]byte
	ip, tcp       uint64 // sums without what differs from flow to flow
	first, flows  uint32 // it deals frames of these
	random        uint64
	services      uint32  // of a client's packets: flow by flow to one of so many
	reply         []uint8 // of a server's packets: which one each flow has
	clientAt      int     // offsets of the client's address and port
	clientPortAt  int
	serverAddress int // offset of the server's address in a reply
}

const (
	bedIP  = nic.VNetHdrLen + wire.EthernetLen
	bedTCP = bedIP + wire.IPv4MinLen
)

// newHand deals packets with these TCP flags of flows first and following, from
// clients, or with a list of servers from them.
func newHand(batch int, flags uint8, first, flows int, servers []uint8) *hand {
	h := &hand{first: uint32(first), flows: uint32(flows), random: bedSeed + uint64(first), reply: servers}
	h.batch.N = batch
	for i := range h.batch.N {
		h.batch.Frames[i] = nic.Frame{Buf: make([]byte, bedFrame), WireLen: MinFrame}
	}
	b := h.template[:]
	wire.Ethernet(b[nic.VNetHdrLen:]).SetType(wire.TypeIPv4)
	ip := wire.IPv4(b[bedIP:])
	f := wire.IPv4Fields{TotalLen: len(ip), TTL: 64, Protocol: nat.ProtoTCP, Flags: wire.IPv4DontFragment}
	p := wire.TCPFields{Flags: flags, Window: 1000}
	if servers == nil {
		f.Dst, p.DstPort = addr4(bedVIP), bedPort
		h.clientAt, h.clientPortAt = bedIP+12, bedTCP
	} else {
		p.SrcPort = bedPort
		h.clientAt, h.clientPortAt, h.serverAddress = bedIP+16, bedTCP+2, bedIP+12
	}
	ip.Encode(&f)
	tcp := wire.TCP(b[bedTCP:])
	tcp.Encode(&p)
	ip.SetChecksum(0)
	h.ip = wire.Sum(ip[:wire.IPv4MinLen], 0)
	h.tcp = wire.Sum(tcp, wire.PseudoSum4(ip.Src(), ip.Dst(), nat.ProtoTCP, len(tcp)))
	return h
}

// hand deals clients' packets to the services of b.
func (b *bed) hand(batch int, flags uint8, first, flows int) *hand {
	h := newHand(batch, flags, first, flows, nil)
	h.services = uint32(b.shape.services)
	return h
}

// set makes frame i a packet of a flow; both checksums are right.
func (h *hand) set(i int, flow uint32) {
	b := h.batch.Frames[i].Buf
	copy(b, h.template[:])
	client, port := bedFirstClient+flow/portsPerSource, firstPort+flow%portsPerSource
	sum := uint64(client>>16) + uint64(client&0xffff)
	binary.BigEndian.PutUint32(b[h.clientAt:], client)
	binary.BigEndian.PutUint16(b[h.clientPortAt:], uint16(port))
	if h.services > 1 {
		// The template goes to the first; no sum carries out of 16 bits.
		address, to := bedService(flow % h.services)
		binary.BigEndian.PutUint32(b[bedIP+16:], address)
		binary.BigEndian.PutUint16(b[bedTCP+2:], uint16(to))
		sum += uint64(address - bedVIP)
		port += to - bedPort
	}
	if h.reply != nil {
		server := bedFirstServer + uint32(h.reply[flow])
		binary.BigEndian.PutUint32(b[h.serverAddress:], server)
		sum += uint64(server>>16) + uint64(server&0xffff)
	}
	binary.BigEndian.PutUint16(b[bedIP+10:], ^wire.Fold(h.ip+sum))
	binary.BigEndian.PutUint16(b[bedTCP+16:], ^wire.Fold(h.tcp+sum+uint64(port)))
}

// deal makes a batch of flows in random order: each finds its connection
// wherever it lies in memory, as one of many clients' packets would.
func (h *hand) deal() {
	for i := range h.batch.N {
		h.random = h.random*6364136223846793005 + 1442695040888963407
		h.set(i, h.first+uint32(h.random>>32*uint64(h.flows)>>32))
	}
}

// next makes a batch of the flows from a number on.
func (h *hand) next(from int) {
	for i := range h.batch.N {
		h.set(i, h.first+uint32(from+i))
	}
}

// batchTime is what the engine's clock goes on by with every batch: about what
// one takes.
const batchTime = 3000

// fill makes so many connections, each established by the client's second
// packet, and fails unless each came to be.
func (b *bed) fill(conns int) error {
	w := b.engine.NewWorker(bedClients)
	h := b.hand(nic.MaxBatch, wire.SYN, 0, conns)
	ack := b.hand(nic.MaxBatch, wire.ACK, 0, conns)
	b.server = make([]uint8, conns)
	for n := 0; n < conns; n += h.batch.N {
		h.batch.N = min(nic.MaxBatch, conns-n)
		h.next(n)
		w.Process(&h.batch, b.now)
		for _, o := range w.Out() {
			b.server[n+o.From] = uint8(binary.BigEndian.Uint32(o.Frame.Buf[bedIP+16:]) - bedFirstServer)
		}
		w.Commit()
		ack.batch.N = h.batch.N
		ack.next(n)
		w.Process(&ack.batch, b.now)
		w.Commit()
		b.now += batchTime
	}
	if got := b.engine.Table().Len(); got != conns {
		return fmt.Errorf("bench: %d of %d connections came to be: %+v", got, conns, w.Ledger())
	}
	b.conns = conns
	return nil
}
