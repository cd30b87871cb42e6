package conformance

import (
	"cmp"
	"fmt"
	"net/netip"
	"strings"

	"vsnat/conntrack"
	"vsnat/nat"
	"vsnat/nat/wire"
	"vsnat/sched"
)

// Op says what a step does.
type Op string

// The operations.
const (
	AddService    Op = "add-service"
	EditService   Op = "edit-service"
	DeleteService Op = "delete-service"
	AddServer     Op = "add-server"
	EditServer    Op = "edit-server"
	DeleteServer  Op = "delete-server"
	Flush         Op = "flush"
	Zero          Op = "zero"
	Set           Op = "set"    // a setting of net.ipv4.vs
	FromClient    Op = "client" // a packet from a client
	FromServer    Op = "server" // a packet from the real server of a connection
	Rest          Op = "rest"   // time passes
)

// Step is one thing that is done to a director.
type Step struct {
	Op      Op              `json:"op"`
	Service nat.ServiceSpec `json:"service,omitzero"` // of commands; of packets only its Key, the service they concern
	Server  nat.ServerSpec  `json:"server,omitzero"`
	Setting string          `json:"setting,omitempty"`
	Value   int             `json:"value,omitempty"` // of the setting
	Packet  Packet          `json:"packet,omitzero"`
	Seconds int             `json:"seconds,omitempty"` // of a rest, at least
	// Settle has a moment pass after the step, because it may end connections at
	// the timer's next tick.
	Settle bool `json:"settle,omitempty"`
	// Look has all there is compared after the step.
	Look bool `json:"look,omitempty"`
}

// Packet is a packet of a connection.
type Packet struct {
	Proto   uint8          `json:"proto"`
	Client  netip.AddrPort `json:"client"`
	Virtual netip.AddrPort `json:"virtual"`
	Flags   uint8          `json:"flags,omitempty"`  // TCP; of SCTP the first chunk's type
	Next    uint8          `json:"next,omitempty"`   // SCTP: the type of a second chunk
	Length  int            `json:"length,omitempty"` // bytes of payload
	NoSum   bool           `json:"nosum,omitempty"`  // UDP: without a checksum
	ESP     bool           `json:"esp,omitempty"`    // one of ESP, which belongs to the UDP connection
	Last    bool           `json:"last,omitempty"`   // with TTL 1: not to be sent on
	// Error makes it an ICMP error, one of complaints from 1 on, about a packet that
	// came from where it goes, and Quote is how many bytes of that one's payload it
	// quotes, its transport header included. NoSum gives it a wrong checksum then.
	Error int `json:"error,omitempty"`
	Quote int `json:"quote,omitempty"`
	// Payload is what a segment carries, instead of Length zeros, with Seq and Ack;
	// From is where a packet from a server comes from, if not from where the flow's
	// last packet went.
	Payload string         `json:"payload,omitempty"`
	Seq     uint32         `json:"seq,omitempty"`
	Ack     uint32         `json:"ack,omitempty"`
	From    netip.AddrPort `json:"from,omitzero"`
}

// flow tells connections apart.
type flow struct {
	proto           uint8
	client, virtual netip.AddrPort
}

func (p *Packet) flow() flow { return flow{p.Proto, p.Client, p.Virtual} }

// String returns the step in words, a command as one would type it.
func (s *Step) String() string {
	switch s.Op {
	case AddService:
		return "ipvsadm -A " + serviceWords(&s.Service)
	case EditService:
		return "ipvsadm -E " + serviceWords(&s.Service)
	case DeleteService:
		return "ipvsadm -D " + keyWords(s.Service.Key)
	case AddServer:
		return fmt.Sprintf("ipvsadm -a %s %s", keyWords(s.Service.Key), serverWords(&s.Server))
	case EditServer:
		return fmt.Sprintf("ipvsadm -e %s %s", keyWords(s.Service.Key), serverWords(&s.Server))
	case DeleteServer:
		return fmt.Sprintf("ipvsadm -d %s -r %s", keyWords(s.Service.Key), nat.AddrPort(s.Server.Key.Addr, s.Server.Key.Port))
	case Flush:
		return "ipvsadm -C"
	case Zero:
		return "ipvsadm -Z"
	case Set:
		return fmt.Sprintf("sysctl net.ipv4.vs.%s=%d", s.Setting, s.Value)
	case FromClient:
		return fmt.Sprintf("client %s to %s: %s", s.Packet.Client, s.Packet.Virtual, s.Packet.what())
	case FromServer:
		return fmt.Sprintf("server of %s at %s: %s", s.Packet.Client, s.Packet.Virtual, s.Packet.what())
	case Rest:
		return fmt.Sprintf("%d seconds or more pass", s.Seconds)
	}
	return string(s.Op)
}

func (p *Packet) what() string {
	if p.Error != 0 {
		return fmt.Sprintf("ICMP error %d, quoting %d bytes, wrong checksum %t, last hop %t", p.Error, p.Quote, p.NoSum, p.Last)
	}
	text := "UDP"
	switch p.Proto {
	case nat.ProtoUDP:
		if p.ESP {
			text = "ESP"
		}
	case nat.ProtoTCP:
		text = "TCP " + flagWords(p.Flags)
	case nat.ProtoSCTP:
		name := func(typ uint8) string { return cmp.Or(chunkNames[typ], fmt.Sprintf("chunk %d", typ)) }
		text = "SCTP " + name(p.Flags)
		if p.Next != 0 {
			text += " and " + name(p.Next)
		}
	}
	if p.Last {
		text += ", TTL 1"
	}
	if p.Payload != "" {
		return fmt.Sprintf("%s, %q", text, p.Payload)
	}
	return fmt.Sprintf("%s, %d bytes", text, p.Length)
}

func flagWords(flags uint8) string {
	var words []string
	for _, f := range []struct {
		bit  uint8
		name string
	}{{wire.SYN, "SYN"}, {wire.FIN, "FIN"}, {wire.RST, "RST"}, {wire.ACK, "ACK"}} {
		if flags&f.bit != 0 {
			words = append(words, f.name)
		}
	}
	if len(words) == 0 {
		return "without flags"
	}
	return strings.Join(words, "+")
}

func keyWords(k nat.ServiceKey) string {
	switch {
	case k.Mark != 0 && k.V6:
		return fmt.Sprintf("-f %d -6", k.Mark)
	case k.Mark != 0:
		return fmt.Sprintf("-f %d", k.Mark)
	case k.Proto == nat.ProtoSCTP:
		return "--sctp-service " + nat.AddrPort(k.Addr, k.Port).String()
	case k.Proto == nat.ProtoUDP:
		return "-u " + nat.AddrPort(k.Addr, k.Port).String()
	}
	return "-t " + nat.AddrPort(k.Addr, k.Port).String()
}

func serviceWords(s *nat.ServiceSpec) string {
	text := keyWords(s.Key) + " -s " + s.Scheduler
	if s.Persistent {
		text += fmt.Sprintf(" -p %d", s.Timeout)
		if s.Netmask > 0 && s.Netmask < 128 {
			text += fmt.Sprintf(" -M %d", s.Netmask)
		} else if s.Netmask > 128 && s.Netmask != allOnes {
			text += fmt.Sprintf(" -M %d.%d.%d.%d", byte(s.Netmask>>24), byte(s.Netmask>>16), byte(s.Netmask>>8), byte(s.Netmask))
		}
	}
	if s.OnePacket {
		text += " -o"
	}
	var flags []string
	for i, bit := range []sched.Flags{sched.Flag1, sched.Flag2, sched.Flag3} {
		if s.Flags&bit != 0 {
			flags = append(flags, fmt.Sprintf("flag-%d", i+1))
		}
	}
	if len(flags) > 0 {
		text += " -b " + strings.Join(flags, ",")
	}
	return text
}

func serverWords(s *nat.ServerSpec) string {
	method := "-m"
	if s.Method == conntrack.Direct {
		method = "-g"
	}
	text := fmt.Sprintf("-r %s %s -w %d", nat.AddrPort(s.Key.Addr, s.Key.Port), method, s.Weight)
	if s.Upper != 0 || s.Lower != 0 {
		text += fmt.Sprintf(" -x %d -y %d", s.Upper, s.Lower)
	}
	return text
}

const allOnes = 0xffffffff
