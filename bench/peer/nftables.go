package peer

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// NFTables is the kernel's own NAT: in the hook prerouting, a rule for each
// service,
//
//	ip daddr VIP tcp dport PORT dnat to numgen inc mod N map { 0 : RIP, … }
//
// with connection tracking doing the rest. Servers have their service's port.
type NFTables struct{}

// natTable is the name of the table it makes.
const natTable = "vsnat-bench"

// Name implements [Peer].
func (NFTables) Name() string { return "nftables" }

// Missing implements [Peer]: it tries to make the table.
func (p NFTables) Missing(ctx context.Context, d Director) string {
	r, err := p.Start(ctx, d, nil)
	if err == nil {
		err = r.Stop()
	}
	if err != nil {
		return "this kernel has no NAT with nftables: " + err.Error()
	}
	return ""
}

// Start implements [Peer].
func (NFTables) Start(_ context.Context, d Director, services []Service) (*Running, error) {
	host := d.Lab.Host(d.Host)
	err := host.Do(func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		t := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: natTable})
		chain := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: t, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
		})
		for i := range services {
			if err := addDNAT(c, t, chain, &services[i]); err != nil {
				return err
			}
		}
		return c.Flush()
	})
	if err != nil {
		return nil, fmt.Errorf("peer: nftables: %w", err)
	}
	return &Running{Stop: func() error {
		err := host.Do(func() error {
			c, err := nftables.New()
			if err != nil {
				return err
			}
			c.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: natTable})
			// Translations outlive their rules: whoever comes next would meet
			// them.
			return errors.Join(c.Flush(), netlink.ConntrackTableFlush(netlink.ConntrackTable))
		})
		if err != nil {
			return fmt.Errorf("peer: nftables: %w", err)
		}
		return nil
	}}, nil
}

// addDNAT adds the rule of one service.
func addDNAT(c *nftables.Conn, t *nftables.Table, chain *nftables.Chain, s *Service) error {
	proto := byte(unix.IPPROTO_TCP)
	if s.Proto == "udp" {
		proto = unix.IPPROTO_UDP
	}
	servers := &nftables.Set{
		Table: t, Anonymous: true, Constant: true, IsMap: true,
		KeyType: nftables.TypeInteger, DataType: nftables.TypeIPAddr,
	}
	var elements []nftables.SetElement
	for i, server := range s.Servers {
		if server.Port() != s.VIP.Port() {
			return fmt.Errorf("server %v of %v: another port than the service's", server, s.VIP)
		}
		ip := server.Addr().As4()
		elements = append(elements, nftables.SetElement{Key: binaryutil.NativeEndian.PutUint32(uint32(i)), Val: ip[:]})
	}
	if err := c.AddSet(servers, elements); err != nil {
		return err
	}
	vip := s.VIP.Addr().As4()
	c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: vip[:]},
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binary.BigEndian.AppendUint16(nil, s.VIP.Port())},
		&expr.Numgen{Register: 1, Modulus: uint32(len(s.Servers)), Type: unix.NFT_NG_INCREMENTAL},
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetID: servers.ID, SetName: servers.Name},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
	}})
	return nil
}
