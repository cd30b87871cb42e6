package wire

// IP protocol numbers (IANA "Assigned Internet Protocol Numbers").
const (
	ProtoICMP   uint8 = 1
	ProtoIPIP   uint8 = 4 // IPv4 in IP
	ProtoTCP    uint8 = 6
	ProtoUDP    uint8 = 17
	ProtoIPv6   uint8 = 41 // IPv6 in IP
	ProtoGRE    uint8 = 47
	ProtoESP    uint8 = 50
	ProtoAH     uint8 = 51
	ProtoICMPv6 uint8 = 58
	ProtoNoNext uint8 = 59 // IPv6: nothing follows
	ProtoSCTP   uint8 = 132
)

// IPv6 extension headers that the walk to the upper protocol steps over,
// besides [ProtoAH] (RFC 8200, section 4).
const (
	extHopByHop uint8 = 0
	extRouting  uint8 = 43
	extFragment uint8 = 44
	extDestOpts uint8 = 60
)
