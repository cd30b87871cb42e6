package ipvsadm

import (
	"fmt"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// listConnections prints the connection table in the director's order.
func (a *app) listConnections(f format) error {
	withPE := f&formatPersistentConn != 0
	fmt.Fprintln(a.out, "IPVS connection entries")
	fmt.Fprintf(a.out, "pro expire %-11s %-18s %-18s ", "state", "source", "virtual")
	if withPE {
		fmt.Fprintf(a.out, "%-18s %-16s %s\n", "destination", "pe name", "pe_data")
	} else {
		fmt.Fprintln(a.out, "destination")
	}
	for c, err := range a.client.Connections(a.ctx) {
		if err != nil {
			return &stop{codeList, a.errorText(cmdList, err)}
		}
		if c.Method == control.Outbound {
			continue // IPVS has none such
		}
		fmt.Fprintf(a.out, "%-3s %-6s %-11s %-18s %-18s ",
			strings.ToUpper(string(c.Protocol)), fmt.Sprintf("%02d:%02d", c.Expires/60, c.Expires%60), c.State,
			a.endpointName(c.Client.Addr(), c.Client.Port(), c.Protocol, f),
			a.endpointName(c.Virtual.Addr(), c.Virtual.Port(), c.Protocol, f))
		dest := a.endpointName(c.Destination.Addr(), c.Destination.Port(), c.Protocol, f)
		// The columns of a row with data are not those of its title.
		if withPE && c.PE != "" && c.PEData != "" {
			fmt.Fprintf(a.out, "%-16s %-18s %s\n", dest, c.PE, c.PEData)
		} else {
			fmt.Fprintln(a.out, dest)
		}
	}
	return nil
}
