package ipvs

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/sched"
)

// Attributes (enums IPVS_CMD_ATTR_*, IPVS_SVC_ATTR_*, IPVS_DEST_ATTR_* and
// IPVS_STATS_ATTR_*).
const (
	attrService       = 1
	attrDest          = 2
	attrTimeoutTCP    = 4
	attrTimeoutTCPFin = 5
	attrTimeoutUDP    = 6

	svcFamily   = 1
	svcProtocol = 2
	svcAddr     = 3
	svcPort     = 4
	svcMark     = 5
	svcSched    = 6
	svcFlags    = 7
	svcTimeout  = 8
	svcNetmask  = 9
	svcStats64  = 12

	destAddr       = 1
	destPort       = 2
	destMethod     = 3
	destWeight     = 4
	destUpper      = 5
	destLower      = 6
	destActive     = 7
	destInactive   = 8
	destPersistent = 9
	destFamily     = 11
	destStats64    = 12

	statConns    = 1
	statInPkts   = 2
	statOutPkts  = 3
	statInBytes  = 4
	statOutBytes = 5
)

// Flags of a service (IP_VS_SVC_F_*). The scheduler's three stand above these.
const (
	flagPersistent = 0x1
	flagOnePacket  = 0x4
	flagSchedShift = 3
)

// attributes adds a command's attributes.
type attributes func(*netlink.AttributeEncoder) error

func nothing(*netlink.AttributeEncoder) error { return nil }

func bigEndian16(ae *netlink.AttributeEncoder, typ, v uint16) {
	ae.Bytes(typ, binary.BigEndian.AppendUint16(nil, v))
}

// address adds an address. One of IPv4 fills the first 4 of the kernel's 16
// bytes.
func address(ae *netlink.AttributeEncoder, typ uint16, a nat.Addr) {
	if familyOf(a) == unix.AF_INET6 {
		ae.Bytes(typ, a[:])
		return
	}
	ae.Bytes(typ, append(append([]byte{}, a[12:]...), make([]byte, 12)...))
}

func familyOf(a nat.Addr) uint16 {
	if nat.AddrPort(a, 0).Addr().Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func familyOfService(k nat.ServiceKey) uint16 {
	switch {
	case k.Mark == 0:
		return familyOf(k.Addr)
	case k.V6:
		return unix.AF_INET6
	}
	return unix.AF_INET
}

func putServiceKey(ae *netlink.AttributeEncoder, k nat.ServiceKey) {
	ae.Uint16(svcFamily, familyOfService(k))
	if k.Mark != 0 {
		ae.Uint32(svcMark, k.Mark)
		return
	}
	ae.Uint16(svcProtocol, uint16(k.Proto))
	address(ae, svcAddr, k.Addr)
	bigEndian16(ae, svcPort, k.Port)
}

func serviceKey(k nat.ServiceKey) attributes {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attrService, func(ae *netlink.AttributeEncoder) error {
			putServiceKey(ae, k)
			return nil
		})
		return nil
	}
}

func service(spec *nat.ServiceSpec) attributes {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attrService, func(ae *netlink.AttributeEncoder) error {
			putServiceKey(ae, spec.Key)
			flags := uint32(spec.Flags) << flagSchedShift
			if spec.Persistent {
				flags |= flagPersistent
			}
			if spec.OnePacket {
				flags |= flagOnePacket
			}
			ae.String(svcSched, spec.Scheduler)
			// A value, and the mask of what is to be set: all of it.
			ae.Bytes(svcFlags, binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, flags), math.MaxUint32))
			ae.Uint32(svcTimeout, spec.Timeout)
			if familyOfService(spec.Key) == unix.AF_INET6 {
				ae.Uint32(svcNetmask, spec.Netmask) // a number
			} else {
				ae.Bytes(svcNetmask, binary.BigEndian.AppendUint32(nil, spec.Netmask))
			}
			return nil
		})
		return nil
	}
}

func putServerKey(ae *netlink.AttributeEncoder, k nat.ServerKey) {
	ae.Uint16(destFamily, familyOf(k.Addr))
	address(ae, destAddr, k.Addr)
	bigEndian16(ae, destPort, k.Port)
}

func serverKey(k nat.ServerKey) attributes {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attrDest, func(ae *netlink.AttributeEncoder) error {
			putServerKey(ae, k)
			return nil
		})
		return nil
	}
}

func server(spec *nat.ServerSpec) attributes {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attrDest, func(ae *netlink.AttributeEncoder) error {
			putServerKey(ae, spec.Key)
			ae.Uint32(destMethod, uint32(spec.Method))
			ae.Uint32(destWeight, uint32(spec.Weight))
			ae.Uint32(destUpper, spec.Upper)
			ae.Uint32(destLower, spec.Lower)
			return nil
		})
		return nil
	}
}

func both(k nat.ServiceKey, dest attributes) attributes {
	return func(ae *netlink.AttributeEncoder) error {
		if err := serviceKey(k)(ae); err != nil {
			return err
		}
		return dest(ae)
	}
}

func timeouts(tcp, tcpFin, udp uint32) attributes {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(attrTimeoutTCP, tcp)
		ae.Uint32(attrTimeoutTCPFin, tcpFin)
		ae.Uint32(attrTimeoutUDP, udp)
		return nil
	}
}

// nested finds the nested attribute that a listed message consists of.
func nested(data []byte, typ uint16, read func(*netlink.AttributeDecoder) error) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return err
	}
	found := false
	for ad.Next() {
		if ad.Type() == typ {
			found = true
			ad.Nested(read)
		}
	}
	if err := ad.Err(); err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("a message of the kernel lacks attribute %d", typ)
	}
	return nil
}

// readAddr reads an address as the kernel has it.
func readAddr(b []byte, family uint16) (a nat.Addr) {
	switch {
	case family == unix.AF_INET6 && len(b) == 16:
		return nat.Addr(b)
	case len(b) >= 4:
		a = nat.Addr{10: 0xff, 11: 0xff}
		copy(a[12:], b[:4])
	}
	return a
}

func readBigEndian16(ad *netlink.AttributeDecoder) uint16 {
	b := ad.Bytes()
	if len(b) != 2 {
		return 0
	}
	return binary.BigEndian.Uint16(b)
}

func readService(data []byte) (s nat.ServiceInfo, err error) {
	family := uint16(unix.AF_INET)
	var addr, mask []byte
	err = nested(data, attrService, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case svcFamily:
				family = ad.Uint16()
			case svcProtocol:
				s.Key.Proto = uint8(ad.Uint16())
			case svcAddr:
				addr = ad.Bytes()
			case svcPort:
				s.Key.Port = readBigEndian16(ad)
			case svcMark:
				s.Key.Mark = ad.Uint32()
			case svcSched:
				s.Scheduler = ad.String()
			case svcFlags:
				b := ad.Bytes()
				if len(b) < 4 {
					return fmt.Errorf("service flags of %d bytes", len(b))
				}
				flags := binary.NativeEndian.Uint32(b)
				s.Persistent, s.OnePacket = flags&flagPersistent != 0, flags&flagOnePacket != 0
				s.Flags = sched.Flags(flags >> flagSchedShift & 7)
			case svcTimeout:
				s.Timeout = ad.Uint32()
			case svcNetmask:
				mask = ad.Bytes()
			case svcStats64:
				ad.Nested(readStats(&s.Counters))
			}
		}
		return nil
	})
	v6 := family == unix.AF_INET6
	switch {
	case len(mask) != 4:
	case v6:
		s.Netmask = binary.NativeEndian.Uint32(mask)
	default:
		s.Netmask = binary.BigEndian.Uint32(mask)
	}
	if s.Key.Mark == 0 {
		s.Key.Addr = readAddr(addr, family)
	} else {
		s.Key.V6 = v6
	}
	return s, err
}

func readServer(data []byte) (s nat.ServerInfo, err error) {
	family := uint16(unix.AF_INET)
	var addr []byte
	err = nested(data, attrDest, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case destFamily:
				family = ad.Uint16()
			case destAddr:
				addr = ad.Bytes()
			case destPort:
				s.Key.Port = readBigEndian16(ad)
			case destMethod:
				s.Method = conntrack.Method(ad.Uint32())
			case destWeight:
				s.Weight = int32(ad.Uint32())
			case destUpper:
				s.Upper = ad.Uint32()
			case destLower:
				s.Lower = ad.Uint32()
			case destActive:
				s.Active = int32(ad.Uint32())
			case destInactive:
				s.Inactive = int32(ad.Uint32())
			case destPersistent:
				s.Persistent = int32(ad.Uint32())
			case destStats64:
				ad.Nested(readStats(&s.Counters))
			}
		}
		return nil
	})
	s.Key.Addr = readAddr(addr, family)
	return s, err
}

func readStats(c *nat.Counters) func(*netlink.AttributeDecoder) error {
	return func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case statConns:
				c.Conns = ad.Uint64()
			case statInPkts:
				c.InPkts = ad.Uint64()
			case statOutPkts:
				c.OutPkts = ad.Uint64()
			case statInBytes:
				c.InBytes = ad.Uint64()
			case statOutBytes:
				c.OutBytes = ad.Uint64()
			}
		}
		return nil
	}
}
