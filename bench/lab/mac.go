package lab

import (
	"encoding/binary"
	"net"

	"github.com/cespare/xxhash/v2"
)

// MAC returns the address of a NIC. It follows from the names alone, so that a
// capture of one run can be compared with that of another. It is unicast and
// locally administered (IEEE 802, the second lowest bit of the first byte).
func MAC(cluster string, nic End) net.HardwareAddr {
	d := xxhash.New()
	for _, s := range []string{cluster, nic.Host, nic.NIC} {
		_, _ = d.WriteString(s) // never fails
		_, _ = d.Write([]byte{0})
	}
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], d.Sum64())
	mac := net.HardwareAddr(b[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}
