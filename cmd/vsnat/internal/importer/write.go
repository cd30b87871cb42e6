package importer

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strings"
	"time"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
)

// text returns the whole configuration file.
func (b *builder) text(name string, lost []Lost) string {
	var out strings.Builder
	fmt.Fprintf(&out, "# From %s, by vsnat import.\n", clean(name))
	if len(lost) > 0 {
		fmt.Fprintln(&out, "#\n# Not carried over, by line:")
		for _, l := range lost {
			fmt.Fprintf(&out, "#   %s\n", l)
		}
	}
	b.writeTimeouts(&out)
	marks := map[uint32]bool{}
	for _, s := range b.services {
		for _, id := range s.listen {
			if id.FWMark != 0 && !marks[id.FWMark] {
				marks[id.FWMark] = true
				fmt.Fprintf(&out, "\n# What the host's packet filter gave the mark %d, vsnat must be told: complete this.\n", id.FWMark)
				fmt.Fprintf(&out, "# [[mark]]\n# mark = %d\n# dst = \"VIP\"\n# ports = \"80-443\"\n", id.FWMark)
			}
		}
		fmt.Fprintf(&out, "\n%s", s.text())
	}
	return out.String()
}

func (b *builder) writeTimeouts(out *strings.Builder) {
	if b.timeouts == (control.Timeouts{}) {
		return
	}
	fmt.Fprintln(out, "\n[timeouts]")
	for _, t := range []struct {
		key     string
		seconds uint32
	}{{"tcp", b.timeouts.TCP}, {"tcp_fin", b.timeouts.TCPFin}, {"udp", b.timeouts.UDP}} {
		if t.seconds != 0 {
			fmt.Fprintf(out, "%s = %s\n", t.key, duration(t.seconds))
		}
	}
}

func duration(seconds uint32) string {
	return config.String(config.FormatDuration(time.Duration(seconds) * time.Second))
}

// text returns [service.NAME].
func (s *service) text() string {
	var out strings.Builder
	fmt.Fprintf(&out, "[service.%s]\n", config.Quote(s.name))
	if id := s.listen[0]; id.FWMark != 0 {
		fmt.Fprintf(&out, "mark = %d\n", id.FWMark)
		if id.Family == control.IPv6 {
			fmt.Fprintln(&out, `family = "ipv6"`)
		}
	} else {
		var list []string
		for _, id := range s.listen {
			list = append(list, listen(&id))
		}
		writeList(&out, "listen", list)
	}
	o := &s.options
	if o.Scheduler != config.DefaultScheduler {
		fmt.Fprintf(&out, "scheduler = %s\n", config.String(o.Scheduler))
	}
	if flags := schedulerFlags(o); len(flags) > 0 {
		writeList(&out, "scheduler_flags", flags)
	}
	if o.Flags&control.Persistent != 0 {
		fmt.Fprintf(&out, "persistent = %s\n", duration(o.Timeout))
		writeNetmask(&out, o.Netmask, s.listen[0].Family)
		if o.PE != "" {
			fmt.Fprintf(&out, "persistence_engine = %s\n", config.String(o.PE))
		}
	}
	if o.Flags&control.OnePacket != 0 {
		fmt.Fprintln(&out, "one_packet = true")
	}
	s.writeServers(&out)
	return out.String()
}

// listen returns what a service listens at.
func listen(id *control.ServiceID) string {
	at := netip.AddrPortFrom(id.Address, id.Port).String()
	if id.Port == 0 {
		at = id.Address.String()
	}
	if id.Protocol != control.TCP {
		at += "/" + string(id.Protocol)
	}
	return config.String(at)
}

// writeList writes key = value, or a list of several, one a line if they are
// many.
func writeList(out *strings.Builder, key string, values []string) {
	switch {
	case len(values) == 1:
		fmt.Fprintf(out, "%s = %s\n", key, values[0])
	case len(strings.Join(values, ", ")) < 80:
		fmt.Fprintf(out, "%s = [%s]\n", key, strings.Join(values, ", "))
	default:
		fmt.Fprintf(out, "%s = [\n  %s,\n]\n", key, strings.Join(values, ",\n  "))
	}
}

// schedulerFlags returns the flags' names, quoted.
func schedulerFlags(o *control.Service) (names []string) {
	scheduler := ""
	if o.Scheduler == "sh" || o.Scheduler == "mh" {
		scheduler = o.Scheduler
	}
	for _, f := range control.SchedulerFlags {
		if o.Flags&f.Flag != 0 && (f.Scheduler == scheduler || f.Flag == control.Flag3) {
			names = append(names, config.String(f.Name))
		}
	}
	return names
}

func writeNetmask(out *strings.Builder, m control.Netmask, family control.Family) {
	switch length := bits.OnesCount32(uint32(m)); {
	case family == control.IPv6:
		if m != 128 {
			fmt.Fprintf(out, "netmask = %d\n", uint32(m))
		}
	case m == control.FullMask:
	case uint32(m) == ^uint32(0)<<(32-length):
		fmt.Fprintf(out, "netmask = %d\n", length)
	default:
		a := netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)})
		fmt.Fprintf(out, "netmask = %q\n", a)
	}
}

// writeServers writes the servers; what they have in common is said once.
func (s *service) writeServers(out *strings.Builder) {
	if len(s.servers) == 0 {
		return
	}
	method := s.servers[0].Method
	for _, v := range s.servers {
		if v.Method != method || v.TunnelType != "" && v.TunnelType != control.IPIP {
			method = control.Masq // each tells its own
		}
	}
	if method != control.Masq {
		fmt.Fprintf(out, "method = %s\n", config.String(string(method)))
	}
	var list []string
	for _, v := range s.servers {
		address := v.Address.String()
		if v.Port != 0 {
			address = netip.AddrPortFrom(v.Address, v.Port).String()
		}
		pairs := []string{"address = " + config.String(address)}
		pair := func(yes bool, format string, args ...any) {
			if yes {
				pairs = append(pairs, fmt.Sprintf(format, args...))
			}
		}
		pair(v.Weight != config.DefaultWeight, "weight = %d", v.Weight)
		pair(v.Method != method, "method = %q", v.Method)
		if v.Method == control.Tunnel {
			pair(v.TunnelType != "" && v.TunnelType != control.IPIP, "tunnel_type = %q", v.TunnelType)
			pair(v.TunnelPort != 0, "tunnel_port = %d", v.TunnelPort)
			pair(v.TunnelChecksum != "" && v.TunnelChecksum != control.NoChecksum, "tunnel_checksum = %q", v.TunnelChecksum)
		}
		pair(v.UThreshold != 0, "upper_threshold = %d", v.UThreshold)
		pair(v.LThreshold != 0, "lower_threshold = %d", v.LThreshold)
		if len(pairs) == 1 {
			list = append(list, config.String(address))
		} else {
			list = append(list, "{ "+strings.Join(pairs, ", ")+" }")
		}
	}
	writeList(out, "server", list)
}
