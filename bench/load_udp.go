package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"vsnat/nat/wire"
)

// MinFrame is the shortest Ethernet frame that [PartUDP] sends, in bytes
// without the check sequence.
const MinFrame = 64

// floodBatch is how many frames are handed to the kernel together.
const floodBatch = 64

// flood sends small UDP packets of many flows from a packet socket, as fast as
// one thread can or at a rate. What comes back is not looked at.
type flood struct {
	fd    int
	rate  float64 // packets/s; 0 is no limit
	flow  flowFrames
	sent  atomic.Uint64
	again atomic.Uint64 // times the kernel had no room
	out   *mmsg
}

func newFlood(spec *PartSpec) (*flood, error) {
	frames, err := newFlowFrames(spec)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("bench: packet socket (CAP_NET_RAW): %w", err)
	}
	// Protocol 0: it receives nothing.
	err = errors.Join(
		os.NewSyscallError("PACKET_QDISC_BYPASS", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_QDISC_BYPASS, 1)),
		os.NewSyscallError("bind", unix.Bind(fd, &unix.SockaddrLinklayer{Ifindex: spec.NIC})),
	)
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("bench: packet socket: %w", err)
	}
	// Room for frames that are on their way; without the right to so much
	// (CAP_NET_ADMIN of the machine) the machine's bound has to do.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, 8<<20)
	return &flood{fd: fd, rate: spec.Rate, flow: frames, out: newMMsg(frames.frames[:])}, nil
}

func (f *flood) run(stop *atomic.Bool) error {
	runtime.LockOSThread() // for good: the thread, with its priority, ends with the load
	// It stands for a wire, which does not wait for its turn on this machine.
	// Without the right to it (CAP_SYS_NICE) it does without.
	_ = unix.Setpriority(unix.PRIO_PROCESS, unix.Gettid(), -20)
	start := time.Now()
	var sent int64
	for !stop.Load() {
		f.flow.next()
		for done := 0; done < floodBatch && !stop.Load(); {
			end := floodBatch
			if f.rate > 0 {
				due := int64(time.Since(start).Seconds() * f.rate)
				// What it was kept from sending in time is not made up for: it
				// would come in a burst.
				sent = max(sent, due-floodBatch)
				if end = min(done+int(due-sent), floodBatch); end <= done {
					continue
				}
			}
			n, errno := f.out.send(f.fd, done, end)
			switch errno {
			case 0:
			case unix.EAGAIN:
				f.again.Add(1)
				continue
			case unix.ENOBUFS:
				n = 1 // the link took it and had no room for it: sent, and lost
			default:
				return fmt.Errorf("bench: sendmmsg: %w", errno)
			}
			done += n
			sent += int64(n)
			f.sent.Add(uint64(n))
		}
	}
	return nil
}

func (f *flood) sample() Sample { return Sample{Count: f.sent.Load(), Errors: f.again.Load()} }

func (f *flood) result() PartResult { return PartResult{} }

// portsPerSource is how many flows share a source address.
const portsPerSource = 256

// firstPort is the lowest source port.
const firstPort = 1024

// flowFrames makes the frames of a number of flows, one after the other, in
// the same few buffers. A flow is a source address and port.
type flowFrames struct {
	frames  [floodBatch][]byte
	flows   uint32
	at      uint32
	source  uint32 // the first source address
	ip, udp uint64 // sums without what differs from flow to flow
}

func newFlowFrames(spec *PartSpec) (flowFrames, error) {
	f := flowFrames{flows: uint32(spec.Flows)}
	if spec.Flows < 1 || spec.Rate < 0 || spec.Frame < MinFrame || spec.Frame > 1514 || !spec.Source.Is4() || !spec.Target.Addr().Is4() ||
		len(spec.SrcMAC) != 6 || len(spec.DstMAC) != 6 {
		return f, fmt.Errorf("bench: cannot make frames of %+v", spec)
	}
	src := spec.Source.As4()
	f.source = uint32(src[0])<<24 | uint32(src[1])<<16 | uint32(src[2])<<8 | uint32(src[3])
	buf := make([]byte, spec.Frame)
	eth := wire.Ethernet(buf)
	copy(buf[0:], spec.DstMAC)
	copy(buf[6:], spec.SrcMAC)
	eth.SetType(wire.TypeIPv4)
	ip := wire.IPv4(eth.Payload())
	ip.Encode(&wire.IPv4Fields{
		TotalLen: len(ip), TTL: 64, Protocol: unix.IPPROTO_UDP, Flags: wire.IPv4DontFragment,
		Dst: spec.Target.Addr().As4(),
	})
	l4 := ip.Payload()
	wire.UDP(l4).Encode(&wire.UDPFields{DstPort: spec.Target.Port(), Length: len(l4)})
	ip.SetChecksum(0)
	f.ip = wire.Sum(ip[:ip.HeaderLen()], 0)
	f.udp = wire.Sum(l4, wire.PseudoSum4(ip.Src(), ip.Dst(), unix.IPPROTO_UDP, len(l4)))
	for i := range f.frames {
		f.frames[i] = append([]byte(nil), buf...)
	}
	return f, nil
}

// next makes the frames of the next flows. Both checksums are right.
func (f *flowFrames) next() {
	const (
		ipAt  = wire.EthernetLen
		udpAt = ipAt + wire.IPv4MinLen
	)
	for _, b := range f.frames {
		src := f.source + f.at/portsPerSource
		port := uint16(firstPort + f.at%portsPerSource)
		if f.at++; f.at == f.flows {
			f.at = 0
		}
		binary.BigEndian.PutUint16(b[ipAt+12:], uint16(src>>16))
		binary.BigEndian.PutUint16(b[ipAt+14:], uint16(src))
		binary.BigEndian.PutUint16(b[udpAt:], port)
		binary.BigEndian.PutUint16(b[ipAt+10:], ^wire.Fold(f.ip+uint64(src>>16)+uint64(src&0xffff)))
		c := ^wire.Fold(f.udp + uint64(src>>16) + uint64(src&0xffff) + uint64(port))
		if c == 0 {
			c = 0xffff // 0 would say that there is none (RFC 768)
		}
		binary.BigEndian.PutUint16(b[udpAt+6:], c)
	}
}
