package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/complete"
	"vsnat/cmd/vsnat/internal/control"
)

// nameFlags are the options that name a service, and a server of it, as ipvsadm
// names them.
type nameFlags struct {
	tcp, udp, sctp, mark, server string
	v6                           bool
}

func (n *nameFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&n.tcp, "tcp-service", "t", "", "TCP service, VIP:PORT")
	f.StringVarP(&n.udp, "udp-service", "u", "", "UDP service, VIP:PORT")
	f.StringVar(&n.sctp, "sctp-service", "", "SCTP service, VIP:PORT")
	f.StringVarP(&n.mark, "fwmark-service", "f", "", "service of a firewall mark")
	f.BoolVarP(&n.v6, "ipv6", "6", false, "the firewall mark's service for IPv6")
	complete.Flags(cmd, map[string]complete.Func{
		"tcp-service": complete.Services(control.TCP), "udp-service": complete.Services(control.UDP),
		"sctp-service": complete.Services(control.SCTP), "fwmark-service": complete.Services(control.AnyProtocol),
	})
}

func (n *nameFlags) registerServer(cmd *cobra.Command) {
	n.register(cmd)
	cmd.Flags().StringVarP(&n.server, "real-server", "r", "", "real server, ADDRESS[:PORT]; the service's port if there is none")
	complete.Flags(cmd, map[string]complete.Func{"real-server": complete.Asking(func(ctx context.Context, c *control.Client) ([]string, error) {
		id, err := n.service()
		if err != nil {
			return nil, err
		}
		return complete.Servers(ctx, c, &id)
	})})
}

// given reports whether a service is named.
func (n *nameFlags) given() bool { return n.tcp+n.udp+n.sctp+n.mark != "" }

// service returns the service that is named.
func (n *nameFlags) service() (id control.ServiceID, err error) {
	found, mark := 0, "fwmark:"
	if n.v6 {
		mark = "fwmark6:"
		if n.mark == "" {
			return id, errors.New("required flag: -6 goes with -f MARK: other services are of the family of their address")
		}
	}
	for _, o := range []struct{ option, kind, value string }{{"-t", "tcp:", n.tcp}, {"-u", "udp:", n.udp}, {"--sctp-service", "sctp:", n.sctp}, {"-f", mark, n.mark}} {
		if o.value == "" {
			continue
		}
		found++
		if id, err = control.ParseServiceID(o.kind + o.value); err != nil {
			return id, fmt.Errorf("invalid argument %q for %s: %w", o.value, o.option, err)
		}
	}
	if found != 1 {
		return id, errors.New("required flag: one of -t VIP:PORT, -u VIP:PORT, --sctp-service VIP:PORT and -f MARK names the service")
	}
	return id, nil
}

// realServer returns the service and the server that are named.
func (n *nameFlags) realServer() (id control.ServiceID, s control.RealServer, err error) {
	if id, err = n.service(); err != nil {
		return id, s, err
	}
	if n.server == "" {
		return id, s, errors.New("required flag: -r ADDRESS[:PORT] names the real server")
	}
	if a, err := netip.ParseAddr(strings.Trim(n.server, "[]")); err == nil {
		return id, control.RealServer{Address: a, Port: id.Port}, nil
	}
	ap, err := netip.ParseAddrPort(n.server)
	if err != nil {
		return id, s, fmt.Errorf("invalid argument %q for -r: it is not ADDRESS or ADDRESS:PORT", n.server)
	}
	return id, control.RealServer{Address: ap.Addr(), Port: ap.Port()}, nil
}

// printJSON prints v for people and programs.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
