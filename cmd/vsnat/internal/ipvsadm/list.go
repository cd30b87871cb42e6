package ipvsadm

import (
	"fmt"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// format is what a listing shows.
type format uint16

const (
	formatNumeric format = 1 << iota
	formatRule           // lines for -R
	formatStats
	formatRate
	formatThresholds
	formatPersistentConn
	formatNoSort
	formatExact
	formatTunInfo
)

// style is the one table a listing is: of several that are asked for the
// first of the order here.
func (f format) style() format {
	for _, s := range []format{formatRule, formatStats, formatRate, formatThresholds, formatPersistentConn, formatTunInfo} {
		if f&s != 0 {
			return s
		}
	}
	return 0
}

// Bytes of an IPv4 service's and server's name that a table shows.
const (
	serviceWidth = 33
	serverWidth  = 28
)

// list runs -L.
func (a *app) list(info control.Info, r *request) error {
	switch {
	case r.opts.has(optConnection):
		return a.listConnections(r.format)
	case r.opts.has(optService):
		entry, err := a.client.Service(a.ctx, r.service.ServiceID)
		if err != nil {
			return &stop{codeList, a.errorText(cmdList, err)}
		}
		a.printTitle(r.format)
		a.printService(&entry, r.format)
		return nil
	case r.opts.has(optTimeout):
		t, err := a.client.Timeouts(a.ctx)
		if err != nil {
			return &stop{codeList, a.errorText(cmdList, err)}
		}
		fmt.Fprintf(a.out, "Timeout (tcp tcpfin udp): %d %d %d\n", t.TCP, t.TCPFin, t.UDP)
		return nil
	case r.opts.has(optDaemon):
		return a.listDaemons()
	}
	return a.listAll(info, r.format)
}

// listAll lists the whole table, as rules for -S.
func (a *app) listAll(info control.Info, f format) error {
	if f&formatRule == 0 {
		fmt.Fprintf(a.out, "IP Virtual Server version %s (size=%d)\n", info.IPVSVersion, info.TableSize)
	}
	entries, err := a.client.Services(a.ctx)
	if err != nil {
		return &stop{codeList, a.errorText(cmdList, err)}
	}
	if f&formatNoSort == 0 {
		mergeSort(entries, compareServices)
	}
	a.printTitle(f)
	for i := range entries {
		a.printService(&entries[i], f)
	}
	return nil
}

func (a *app) printTitle(f format) {
	const local, remote = "Prot LocalAddress:Port", "  -> RemoteAddress:Port"
	switch f.style() {
	case formatStats:
		fmt.Fprintf(a.out, "%-33s %8s %8s %8s %8s %8s\n%s\n", local, "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes", remote)
	case formatRate:
		fmt.Fprintf(a.out, "%-33s %8s %8s %8s %8s %8s\n%s\n", local, "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS", remote)
	case formatThresholds:
		fmt.Fprintf(a.out, "%-33s %-10s %-10s %-10s %-10s\n%s\n", local, "Uthreshold", "Lthreshold", "ActiveConn", "InActConn", remote)
	case formatPersistentConn:
		fmt.Fprintf(a.out, "%-33s %-9s %-11s %-10s %-10s\n%s\n", local, "Weight", "PersistConn", "ActiveConn", "InActConn", remote)
	case formatTunInfo:
		fmt.Fprintf(a.out, "%s Scheduler Flags\n%-33s Forward TunnelInfo    Weight ActiveConn InActConn\n", local, remote)
	case 0:
		fmt.Fprintf(a.out, "%s Scheduler Flags\n%-33s Forward Weight ActiveConn InActConn\n", local, remote)
	}
}

// printService prints a service and its servers.
func (a *app) printService(e *control.ServiceEntry, f format) {
	if f&formatNoSort == 0 {
		mergeSort(e.Servers, compareServers)
	}
	name := a.serviceName(&e.Service, f)
	if f.style() == formatRule {
		a.printRules(e, name, f)
		return
	}
	switch f.style() {
	case formatStats:
		s := &e.Stats
		fmt.Fprintf(a.out, "%-33s", name)
		a.printNumbers(f, s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes)
	case formatRate:
		s := &e.Stats
		fmt.Fprintf(a.out, "%-33s", name)
		a.printNumbers(f, s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS)
	default:
		fmt.Fprintf(a.out, "%s %s%s\n", name, e.Scheduler, serviceFlags(&e.Service))
	}
	for i := range e.Servers {
		a.printServer(&e.Service, &e.Servers[i], f)
	}
}

// serviceName returns a service's name in a table or, for -S, as options.
// ipvsadm prints marks as signed numbers.
func (a *app) serviceName(svc *control.Service, f format) string {
	rule := f.style() == formatRule
	if svc.FWMark != 0 {
		word, v6 := "FWM  ", " IPv6"
		if rule {
			word, v6 = "-f ", " -6"
		}
		if svc.Family != control.IPv6 {
			v6 = ""
		}
		return fmt.Sprintf("%s%d%s", word, int32(svc.FWMark), v6)
	}
	name := a.endpointName(svc.Address, svc.Port, svc.Protocol, f)
	if rule {
		options := map[control.Protocol]string{control.TCP: "-t", control.UDP: "-u", control.SCTP: "--sctp-service"}
		return options[svc.Protocol] + " " + name
	}
	name = fmt.Sprintf("%-4s %s", strings.ToUpper(string(svc.Protocol)), name)
	if svc.Family == control.IPv4 {
		name = cut(name, serviceWidth)
	}
	return name
}

// serviceFlags returns what follows the scheduler in a table.
func serviceFlags(svc *control.Service) string {
	var b strings.Builder
	if svc.Flags&(control.Flag1|control.Flag2|control.Flag3) != 0 {
		fmt.Fprintf(&b, " (%s)", schedFlagNames(svc.Flags, svc.Scheduler))
	}
	if svc.Flags&control.Persistent != 0 {
		fmt.Fprintf(&b, " persistent %d", svc.Timeout)
		if m := mask(svc); m != "" {
			fmt.Fprintf(&b, " mask %s", m)
		}
		if svc.PE != "" {
			fmt.Fprintf(&b, " pe %s", svc.PE)
		}
	}
	if svc.Flags&control.OnePacket != 0 {
		b.WriteString(" ops")
	}
	return b.String()
}

// mask returns the text of a persistence mask, "" for that of one address.
func mask(svc *control.Service) string {
	switch {
	case svc.Family == control.IPv6 && svc.Netmask == 128, svc.Family == control.IPv4 && svc.Netmask == control.FullMask:
		return ""
	case svc.Family == control.IPv6:
		return fmt.Sprint(uint32(svc.Netmask))
	}
	m := uint32(svc.Netmask)
	return fmt.Sprintf("%d.%d.%d.%d", m>>24, m>>16&255, m>>8&255, m&255)
}

// portNames returns the protocol under which a service's servers have port
// names: a mark's service has none.
func portNames(svc *control.Service) control.Protocol {
	if svc.FWMark != 0 {
		return control.AnyProtocol
	}
	return svc.Protocol
}

// forwardNames are what tables call the methods.
var forwardNames = map[control.Method]string{
	control.Masq:   "Masq",
	control.Full:   "FullNat",
	control.Local:  "Local",
	control.Tunnel: "Tunnel",
	control.Direct: "Route",
}

func (a *app) printServer(svc *control.Service, e *control.ServerEntry, f format) {
	name := a.endpointName(e.Address, e.Port, portNames(svc), f)
	if e.Address.Is4() {
		name = cut(name, serverWidth)
	}
	fmt.Fprintf(a.out, "  -> %-28s", name)
	switch f.style() {
	case formatStats:
		// ipvsadm 1.31 reads these as 32-bit numbers, but for bytes.
		s := &e.Stats
		a.printNumbers(f, low(s.Conns), low(s.InPkts), low(s.OutPkts), s.InBytes, s.OutBytes)
	case formatRate:
		s := &e.Stats
		fmt.Fprintf(a.out, " %8d %8d %8d", low(s.CPS), low(s.InPPS), low(s.OutPPS))
		a.printNumbers(f, low(s.InBPS), low(s.OutBPS))
	case formatThresholds:
		fmt.Fprintf(a.out, " %-10d %-10d %-10d %-10d\n", e.UThreshold, e.LThreshold, e.Active, e.Inactive)
	case formatPersistentConn:
		fmt.Fprintf(a.out, " %-9d %-11d %-10d %-10d\n", uint32(e.Weight), e.Persistent, e.Active, e.Inactive)
	case formatTunInfo:
		fmt.Fprintf(a.out, " %-7s %-13s %-6d %-10d %-10d\n", forwardNames[e.Method], tunnelInfo(&e.RealServer), e.Weight, e.Active, e.Inactive)
	default:
		fmt.Fprintf(a.out, " %-7s %-6d %-10d %-10d\n", forwardNames[e.Method], e.Weight, e.Active, e.Inactive)
	}
}

// low returns the low 32 bits.
func low(n uint64) uint64 { return n & 0xffffffff }

// tunnelInfo returns the TunnelInfo column.
func tunnelInfo(s *control.RealServer) string {
	if s.Method != control.Tunnel {
		return "n/a"
	}
	sum := map[control.TunnelChecksum]string{"": "-c", control.NoChecksum: "-c", control.Checksum: "+c", control.RemoteChecksum: "r+c"}[s.TunnelChecksum]
	switch s.TunnelType {
	case control.GUE:
		return fmt.Sprintf("gue:%d:%s", s.TunnelPort, sum)
	case control.GRE:
		return "gre:" + sum
	}
	return "ipip"
}

// printNumbers ends a line with numbers.
func (a *app) printNumbers(f format, numbers ...uint64) {
	for _, n := range numbers {
		a.out.WriteString(largeNumber(n, f&formatExact != 0))
	}
	a.out.WriteByte('\n')
}

// largeNumber returns a number in nine columns: cut to a unit when it is too
// long, or exact, and then as long as it is after a blank.
func largeNumber(n uint64, exact bool) string {
	switch {
	case exact:
		return fmt.Sprintf("%9s", fmt.Sprintf(" %d", n))
	case n < 1e8:
		return fmt.Sprintf("%9d", n)
	case n < 1e9:
		return fmt.Sprintf("%8dK", n/1e3)
	case n < 1e11:
		return fmt.Sprintf("%8dM", n/1e6)
	case n < 1e14:
		return fmt.Sprintf("%8dG", n/1e9)
	}
	return fmt.Sprintf("%8dT", n/1e12)
}

// listDaemons prints the synchronisation daemons, master first.
func (a *app) listDaemons() error {
	daemons, err := a.client.Daemons(a.ctx)
	if err != nil {
		return &stop{codeList, a.errorText(cmdList, err)}
	}
	for _, d := range daemons {
		fmt.Fprintf(a.out, "%s sync daemon (mcast=%s, syncid=%d", d.Role, d.Interface, d.SyncID)
		if d.MaxLen != 0 {
			fmt.Fprintf(a.out, ", maxlen=%d", d.MaxLen)
		}
		if d.Group.IsValid() {
			fmt.Fprintf(a.out, ", group=%s", addressText(d.Group))
		}
		if d.Port != 0 {
			fmt.Fprintf(a.out, ", port=%d", d.Port)
		}
		if d.TTL != 0 {
			fmt.Fprintf(a.out, ", ttl=%d", d.TTL)
		}
		fmt.Fprintln(a.out, ")")
	}
	return nil
}
