package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"vsnat/cmd/vsnat/internal/control"
)

// nameFlags are the options that name a service, and a server of it, as ipvsadm
// names them.
type nameFlags struct{ tcp, udp, mark, server string }

func (n *nameFlags) register(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&n.tcp, "tcp-service", "t", "", "TCP service, VIP:PORT")
	f.StringVarP(&n.udp, "udp-service", "u", "", "UDP service, VIP:PORT")
	f.StringVarP(&n.mark, "fwmark-service", "f", "", "service of a firewall mark")
}

func (n *nameFlags) registerServer(cmd *cobra.Command) {
	n.register(cmd)
	cmd.Flags().StringVarP(&n.server, "real-server", "r", "", "real server, ADDRESS[:PORT]; the service's port if there is none")
}

// given reports whether a service is named.
func (n *nameFlags) given() bool { return n.tcp+n.udp+n.mark != "" }

// service returns the service that is named.
func (n *nameFlags) service() (id control.ServiceID, err error) {
	found := 0
	for _, o := range []struct{ option, kind, value string }{{"-t", "tcp:", n.tcp}, {"-u", "udp:", n.udp}, {"-f", "fwmark:", n.mark}} {
		if o.value == "" {
			continue
		}
		found++
		if id, err = control.ParseServiceID(o.kind + o.value); err != nil {
			return id, fmt.Errorf("invalid argument %q for %s: %w", o.value, o.option, err)
		}
	}
	if found != 1 {
		return id, errors.New("required flag: one of -t VIP:PORT, -u VIP:PORT and -f MARK names the service")
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
