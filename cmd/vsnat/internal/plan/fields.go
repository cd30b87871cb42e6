package plan

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
)

// Field is one thing about something that changes, in words.
type Field struct {
	Name string `json:"name"`
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// differing returns the fields of two lists that are not equal. The lists have
// the same names.
func differing(from, to []Field) (all []Field) {
	for i := range from {
		if from[i].To != to[i].To {
			all = append(all, Field{from[i].Name, from[i].To, to[i].To})
		}
	}
	return all
}

// saying returns the fields that say something.
func saying(fields []Field) []Field {
	return slices.DeleteFunc(fields, func(f Field) bool { return f.To == "" })
}

// serviceFields returns a service's options. What does not matter, or is as
// ever, is "".
func serviceFields(s *control.Service) []Field {
	timeout, mask := "", ""
	if s.Flags&control.Persistent != 0 {
		timeout = config.FormatDuration(time.Duration(s.Timeout) * time.Second)
		if s.Family == control.IPv6 && s.Netmask != 128 || s.Family != control.IPv6 && s.Netmask != control.FullMask {
			mask = s.Netmask.String()
		}
	}
	half := ""
	if s.LRTHalfLife != 0 {
		half = config.FormatDuration(time.Duration(s.LRTHalfLife) * time.Millisecond)
	}
	return []Field{
		{"scheduler", "", s.Scheduler},
		{"flags", "", strings.Join(flagNames(s), ",")},
		{"table", "", unlessZero(s.MHTableSize)},
		{"half-life", "", half},
		{"persistent", "", timeout},
		{"netmask", "", mask},
		{"engine", "", s.PE},
		{"one-packet", "", yes(s.Flags&control.OnePacket != 0)},
		{"proxy-protocol", "", string(s.ProxyProtocol)},
		{"life", "", lifeText(s.Life)},
	}
}

// flagNames are the names of the scheduler's flags that are set.
func flagNames(s *control.Service) (names []string) {
	scheduler := s.Scheduler
	if scheduler != "sh" && scheduler != "mh" {
		scheduler = ""
	}
	for _, f := range control.SchedulerFlags {
		if s.Flags&f.Flag != 0 && (f.Scheduler == scheduler || f.Flag == control.Flag3) {
			names = append(names, f.Name)
		}
	}
	return names
}

// lifeText returns a policy's name, or all of it if it has none. "" is as the
// kernel does.
func lifeText(l *control.Life) string {
	switch {
	case l == nil:
		return ""
	case l.Preset != "":
		return l.Preset
	}
	b, _ := json.Marshal(l) // it is made of strings and numbers
	return string(b)
}

// serverFields returns a server's options. A local server is one that IPVS made
// so of whatever it was added as.
func serverFields(s *control.RealServer) []Field {
	method := string(s.Method)
	tunnel := ""
	if s.Method == control.Tunnel {
		tunnel = string(control.IPIP)
		if s.TunnelType != "" {
			tunnel = string(s.TunnelType)
		}
		if s.TunnelPort != 0 {
			tunnel += fmt.Sprintf(" port %d", s.TunnelPort)
		}
		if s.TunnelChecksum != "" && s.TunnelChecksum != control.NoChecksum {
			tunnel += " " + string(s.TunnelChecksum)
		}
	}
	return []Field{
		{"method", "", method},
		{"pool", "", s.Pool},
		{"tunnel", "", tunnel},
		{"weight", "", fmt.Sprint(s.Weight)},
		{"upper", "", unlessZero(s.UThreshold)},
		{"lower", "", unlessZero(s.LThreshold)},
	}
}

// directorFields returns what a director is started with; "" is the default.
func directorFields(d *config.Director) []Field {
	spin, merge, budget := "", "", ""
	if d.Spin != nil {
		spin = d.Spin.String()
	}
	if d.Merge {
		merge = "true"
	}
	if d.Budget != 0 {
		budget = d.Budget.String()
	}
	return []Field{
		{"nics", "", strings.Join(d.NICs, ",")},
		{"guard", "", d.Guard},
		{"max_conns", "", unlessZero(uint32(d.MaxConns))},
		{"threads", "", unlessZero(uint32(d.Threads))},
		{"queues", "", unlessZero(uint32(d.Queues))},
		{"spin", "", spin},
		{"merge", "", merge},
		{"budget", "", budget},
		{"socket", "", d.Socket},
		{"socket_group", "", d.SocketGroup},
	}
}

// serverDiffers returns how a server that is is not as it is wanted.
func serverDiffers(is, wanted *control.RealServer) []Field {
	if *is == *wanted {
		return nil // as nearly all
	}
	i := *is
	if i.Method == control.Local {
		i.Method, i.TunnelType, i.TunnelPort, i.TunnelChecksum = wanted.Method, wanted.TunnelType, wanted.TunnelPort, wanted.TunnelChecksum
	}
	return differing(serverFields(&i), serverFields(wanted))
}

func unlessZero(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

// describe returns what fields say, as "wlc, persistent 6m".
func describe(fields []Field) string {
	var words []string
	for _, f := range fields {
		switch {
		case f.Name == "scheduler" || f.Name == "method" || f.To == "yes":
			if f.To == "yes" {
				words = append(words, f.Name)
			} else {
				words = append(words, f.To)
			}
		default:
			words = append(words, f.Name+" "+f.To)
		}
	}
	return strings.Join(words, ", ")
}

// markText returns rules in words.
func markText(rules []control.MarkRule) string {
	texts := make([]string, len(rules))
	for i := range rules {
		texts[i] = rules[i].String()
	}
	return strings.Join(texts, "; ")
}
