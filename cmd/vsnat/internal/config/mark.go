package config

import (
	"net/netip"
	"strconv"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
)

// markRules reads [[mark]].
func (r *reader) markRules(e *entry) { r.tables(e, r.markRule) }

func (r *reader) markRule(t *node) {
	var rule control.MarkRule
	problems := len(r.all)
	prefix := func(p *netip.Prefix) func(*entry) {
		return func(e *entry) {
			if v, ok := r.prefix(e.value); ok {
				*p = v.Masked()
			}
		}
	}
	r.table(t, "[[mark]]", fields{
		"mark": func(e *entry) {
			if v, ok := r.number(e.value, 0, 1<<32-1); ok {
				rule.Mark = uint32(v)
			}
		},
		"src": prefix(&rule.Src),
		"dst": prefix(&rule.Dst),
		"protocol": func(e *entry) {
			if s, ok := r.oneOf(e.value, "protocol", []string{string(control.TCP), string(control.UDP), string(control.SCTP)}); ok {
				rule.Protocol = control.Protocol(s)
			}
		},
		"ports": func(e *entry) { rule.FirstPort, rule.LastPort = r.ports(e.value) },
		"nic": func(e *entry) {
			if s, ok := r.nic(e.value); ok {
				rule.NIC = s
			}
		},
	})
	if t.get("mark") == nil && !r.broken {
		r.errorf(t.at, "a rule needs mark = NUMBER; 0 leaves packets without a mark")
	}
	if rule.Src.IsValid() && rule.Dst.IsValid() && rule.Src.Addr().Is4() != rule.Dst.Addr().Is4() {
		r.errorf(t.get("src").value.at, "src and dst are of different address families: no packet has both")
	}
	if _, ok := r.marks[rule.Mark]; !ok {
		r.marks[rule.Mark] = t.at
	}
	if len(r.all) > problems {
		return // it is not what was meant
	}
	if first, twice := r.ruleAt[rule]; twice {
		r.errorf(t.at, "this rule is there already, at %s", first)
		return
	}
	r.ruleAt[rule] = t.at
	r.cfg.Marks = append(r.cfg.Marks, rule)
}

// ports reads a port, or a range of them as "80-443".
func (r *reader) ports(n *node) (first, last uint16) {
	if n.kind == kindInteger {
		v, _ := r.number(n, 1, 65535)
		return uint16(v), uint16(v)
	}
	s, ok := r.text(n, `a port, or a range of ports such as "80-443"`)
	if !ok {
		return 0, 0
	}
	from, to, isRange := strings.Cut(s, "-")
	if !isRange {
		to = from
	}
	a, errFrom := strconv.ParseUint(strings.TrimSpace(from), 10, 16)
	b, errTo := strconv.ParseUint(strings.TrimSpace(to), 10, 16)
	switch {
	case errFrom != nil || errTo != nil || a == 0 || b == 0:
		r.errorf(n.at, `%q are no ports; write one, or a range such as "80-443"`, s)
	case a > b:
		r.errorf(n.at, "ports %d to %d are in the wrong order", a, b)
	default:
		return uint16(a), uint16(b)
	}
	return 0, 0
}

// checkMarks finds services whose mark no packet gets, and rules for nobody.
func (r *reader) checkMarks() {
	if r.broken {
		return
	}
	used := map[uint32]bool{0: true}
	for _, u := range r.markUsers {
		used[u.mark] = true
		if _, ok := r.marks[u.mark]; !ok {
			r.errorf(u.at, "no rule gives packets the mark %d; add [[mark]] with mark = %d and what its packets are", u.mark, u.mark)
		}
	}
	for mark, at := range r.marks {
		if !used[mark] {
			r.warnf(at, "no service has the mark %d", mark)
		}
	}
}
