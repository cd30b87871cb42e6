package control

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
)

// Question is a packet that a director is asked about.
type Question struct {
	Protocol Protocol       `json:"protocol,omitempty"` // tcp if it is left out
	From     netip.AddrPort `json:"from"`
	To       netip.AddrPort `json:"to"`
	// Flags are a TCP segment's: syn, ack, fin, rst, psh, urg. Without any it is a
	// SYN.
	Flags []string `json:"flags,omitempty"`
	// NIC is the name of the one that receives it, if it is not the one that leads to
	// where it comes from.
	NIC string `json:"nic,omitempty"`
	// FWMark is its firewall mark, in place of the one that the rules give it.
	FWMark *uint32 `json:"fwmark,omitempty"`
	// IfDown are servers to take for down: an address stands for all its ports.
	IfDown []string `json:"if_down,omitempty"`
}

// Decision is what becomes of a packet, and why.
type Decision struct {
	Packet Headers `json:"packet"` // as it comes
	NIC    string  `json:"nic,omitempty"`
	FWMark uint32  `json:"fwmark,omitempty"`
	// From is whose packet it is, client or server, if it is of a connection or
	// begins one.
	From string `json:"from,omitempty"`
	// HostUnknown says that the routes, neighbours and addresses of the host are not
	// known: what depends on them is as if all were in order.
	HostUnknown bool `json:"host_unknown,omitempty"`

	// Service is the one the packet was given to, and Rule how it was found: mark,
	// exact, ftp-fallback or any-port. A packet of a connection asks for none.
	Service *Service `json:"service,omitempty"`
	Rule    string   `json:"rule,omitempty"`
	// Near are services that it just missed, if there is none.
	Near []NearService `json:"near,omitempty"`

	// Found is the connection that the packet belongs to, as it was before.
	Found *DecidedConnection `json:"found,omitempty"`
	// GivenUp is why that does not count: policy, begun-anew, server-quiesced or
	// server-deleted.
	GivenUp    string             `json:"given_up,omitempty"`
	Life       *LifeRuling        `json:"life,omitempty"`
	Template   *DecidedTemplate   `json:"template,omitempty"`
	Scheduling *Scheduling        `json:"scheduling,omitempty"`
	Connection *DecidedConnection `json:"connection,omitempty"` // as it is after the packet
	// ServerState is what has befallen its server.
	ServerState ServerState `json:"server_state,omitempty"`

	// Verdict is forward, reply, pass, hold or drop; Reason the stable name of why it
	// is dropped, and Meaning what that means.
	Verdict string `json:"verdict"`
	Reason  string `json:"reason,omitempty"`
	Meaning string `json:"meaning,omitempty"`
	// Cause is why a packet begins no connection, where Reason does not say:
	// no-service, begins-nothing, from-ftp-data, other-port, service-deleted or
	// no-server.
	Cause string `json:"cause,omitempty"`

	NextHop *NextHop `json:"next_hop,omitempty"`
	// Out are the frames that leave, and MoreOut how many more do that nothing else was
	// noted of.
	Out     []Departure `json:"out,omitempty"`
	MoreOut int         `json:"more_out,omitempty"`
	// Reply is what becomes of the server's answer, if it passes here.
	Reply *Decision `json:"reply,omitempty"`
}

// Headers are what a frame's headers say.
type Headers struct {
	SrcMAC string `json:"src_mac,omitempty"`
	DstMAC string `json:"dst_mac,omitempty"`
	// IPProtocol is the protocol's number.
	IPProtocol uint8      `json:"ip_protocol"`
	Src        netip.Addr `json:"src"`
	Dst        netip.Addr `json:"dst"`
	SrcPort    uint16     `json:"src_port,omitempty"`
	DstPort    uint16     `json:"dst_port,omitempty"`
	TTL        uint8      `json:"ttl"` // or hop limit
	Length     int        `json:"length"`
	TCPFlags   []string   `json:"tcp_flags,omitempty"`
	ICMPType   *uint8     `json:"icmp_type,omitempty"`
	ICMPCode   *uint8     `json:"icmp_code,omitempty"`
}

// NearService is a service that a packet just missed.
type NearService struct {
	Service ServiceID `json:"service"`
	Missed  string    `json:"missed"` // in what
}

// DecidedConnection is a connection or template as a decision has it.
type DecidedConnection struct {
	Connection
	// Timer is how many seconds after a packet it ends if nothing comes.
	Timer uint32 `json:"timer"`
	// OnePacket says that it is of this packet alone.
	OnePacket bool `json:"one_packet,omitempty"`
}

// LifeRuling is what a service's policy for the life of servers says.
type LifeRuling struct {
	Event    string `json:"event"`
	Traffic  string `json:"traffic"`
	Action   string `json:"action"`
	Deadline bool   `json:"deadline_passed,omitempty"`
}

// DecidedTemplate is what becomes of a client's persistence template.
type DecidedTemplate struct {
	Found *DecidedConnection `json:"found,omitempty"` // as it was before
	// GivenUp is why that does not count: policy or server-takes-none.
	GivenUp string      `json:"given_up,omitempty"`
	Life    *LifeRuling `json:"life,omitempty"`
	// Now is the template that names the server now.
	Now *DecidedConnection `json:"now,omitempty"`
}

// Scheduling is how a scheduler comes to its pick.
type Scheduling struct {
	Scheduler string `json:"scheduler"`
	// Brief says that the scheduler gave no account of its pick, as packets waited for
	// it: only its name is known.
	Brief bool   `json:"brief,omitempty"`
	Rule  string `json:"rule,omitempty"` // what decides
	// Compared is what the values are, if any are compared. The least wins, or the
	// greatest; of equal ones the first.
	Compared string      `json:"compared,omitempty"`
	Greatest bool        `json:"greatest,omitempty"`
	Servers  []Candidate `json:"servers,omitzero"` // all, in list order
}

// Candidate is a server as its scheduler sees it.
type Candidate struct {
	Server netip.AddrPort `json:"server"`
	Weight int32          `json:"weight"`
	Active int32          `json:"active"`
	Conns  int32          `json:"conns"` // active and inactive
	Value  *float64       `json:"value,omitempty"`
	// Refused is why it cannot be picked.
	Refused string `json:"refused,omitempty"`
	Note    string `json:"note,omitempty"`
	Picked  bool   `json:"picked,omitempty"`
}

// NextHop is where a packet goes next.
type NextHop struct {
	To netip.Addr `json:"to"` // where it goes
	// State is resolved, unresolved, failed, local or no-route.
	State   string     `json:"state"`
	Gateway netip.Addr `json:"gateway,omitzero"` // none if To is on the link
	NIC     string     `json:"nic,omitempty"`
	MTU     int        `json:"mtu,omitempty"`
	MAC     string     `json:"mac,omitempty"` // of the gateway, or of To
}

// Departure is a frame that leaves.
type Departure struct {
	NIC     string  `json:"nic"`
	Headers Headers `json:"headers"`
	// Answer says that it is an answer of the director's own.
	Answer bool `json:"answer,omitempty"`
	// Waits says that it waits for the next hop's link-layer address.
	Waits bool `json:"waits,omitempty"`
}

// Explainer is a Director that can say what would become of a packet.
type Explainer interface {
	// Explain tells it, and changes and sends nothing. An error says what is wrong
	// with the question.
	Explain(q Question) (*Decision, error)
}

// FlagNames are the names of TCP's flags, by bit.
var FlagNames = []string{"fin", "syn", "rst", "psh", "ack", "urg"}

// Check reports what is wrong with the form of a question, and fills in the
// protocol.
func (q *Question) Check() error {
	if q.Protocol == "" {
		q.Protocol = TCP
	}
	if q.Protocol.Number() == 0 {
		return malformed(syscall.EINVAL, "protocol %q is none of tcp, udp, sctp", q.Protocol)
	}
	for what, a := range map[string]netip.AddrPort{"from": q.From, "to": q.To} {
		if err := checkAddress(what, a.Addr()); err != nil {
			return err
		}
	}
	if FamilyOf(q.From.Addr()) != FamilyOf(q.To.Addr()) {
		return malformed(syscall.EAFNOSUPPORT, "%s and %s are of different address families", q.From.Addr(), q.To.Addr())
	}
	if len(q.Flags) > 0 && q.Protocol != TCP {
		return malformed(syscall.EINVAL, "flags are TCP's, not those of %s", q.Protocol)
	}
	if _, err := q.TCPFlags(); err != nil {
		return err
	}
	_, err := q.Down()
	return err
}

// TCPFlags returns the flags as a segment has them, 0 if none are given.
func (q *Question) TCPFlags() (bits uint8, err error) {
next:
	for _, name := range q.Flags {
		for i, known := range FlagNames {
			if strings.EqualFold(name, known) {
				bits |= 1 << i
				continue next
			}
		}
		return 0, malformed(syscall.EINVAL, "flag %q is none of %s", name, strings.Join(FlagNames, ", "))
	}
	return bits, nil
}

// Down returns the servers to take for down; port 0 stands for every port.
func (q *Question) Down() (all []netip.AddrPort, err error) {
	for _, s := range q.IfDown {
		ap, err := netip.ParseAddrPort(s)
		if err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(s)
			ap = netip.AddrPortFrom(a, 0)
		}
		if err != nil {
			return nil, malformed(syscall.EINVAL, "server %q is neither ADDRESS nor ADDRESS:PORT", s)
		}
		if err := checkAddress("server", ap.Addr()); err != nil {
			return nil, err
		}
		all = append(all, ap)
	}
	return all, nil
}

func (s *Server) serveExplain(w http.ResponseWriter, r *http.Request, _ url.Values) {
	var q Question
	done, ok := s.read(w, r, &q)
	if !ok {
		return
	}
	defer done()
	err := q.Check()
	var d *Decision
	if err == nil {
		e, can := s.director.(Explainer)
		if !can {
			fail(w, http.StatusConflict, refusal(fmt.Errorf("this director explains nothing: %w", syscall.EOPNOTSUPP)))
			return
		}
		d, err = e.Explain(q)
	}
	if err != nil {
		fail(w, http.StatusBadRequest, refusal(err))
		return
	}
	answer(w, http.StatusOK, d)
}

// Explain asks what would become of a packet.
func (c *Client) Explain(ctx context.Context, q Question) (*Decision, error) {
	d := new(Decision)
	return d, c.post(ctx, "explain", q, d)
}
