package neigh

import (
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// step is a policy rule that is followed: for the destinations it selects it
// names a table, or it refuses.
type step struct {
	dst    ip
	bits   uint8 // 0: all destinations
	invert bool  // all but those
	table  *table
	refuse bool
	// Routes are ignored whose prefix is not longer, if shortest is set.
	shortest bool
	longer   uint8
}

// find goes through the rules and returns the route to a, nil if there is
// none or it is refused by a rule.
func find(steps []step, a ip) *route {
	for i := range steps {
		s := &steps[i]
		if a.within(s.dst, s.bits) == s.invert {
			continue
		}
		if s.refuse {
			return nil
		}
		r := s.table.lookup(a)
		if r == nil || r.verdict == throw || s.shortest && r.bits <= s.longer {
			continue
		}
		return r
	}
	return nil
}

// defaultRules are the rules of a kernel without policy routing, and of one in
// which nobody has touched them (fib4_rules.c and fib6_rules.c).
func defaultRules(v6 bool) []ruleRecord {
	all := func(priority, table uint32) ruleRecord {
		return ruleRecord{v6: v6, priority: priority, action: unix.FR_ACT_TO_TBL, table: table, suppress: -1}
	}
	rules := []ruleRecord{all(0, unix.RT_TABLE_LOCAL), all(32766, unix.RT_TABLE_MAIN)}
	if !v6 {
		rules = append(rules, all(32767, unix.RT_TABLE_DEFAULT))
	}
	return rules
}

// merged reports whether the kernel looks into tables local and main at once,
// the longest prefix of both winning: IPv4 does as long as its rules are the
// default ones (fib_unmerge in net/ipv4/fib_frontend.c).
func merged(rules []ruleRecord) bool { return slices.Equal(rules, defaultRules(false)) }

// follow tells what a rule means to a packet that is forwarded, of which only
// the destination is known and whose mark is 0. A rule is skipped that selects
// no such packet, and one that cannot be followed for want of knowledge, which
// is then described in ignored.
func (r *ruleRecord) follow() (s step, ok bool, ignored string) {
	name := "ip rule"
	if r.v6 {
		name = "ip -6 rule"
	}
	describe := func(what string) string {
		return fmt.Sprintf("%s %d is not followed: it has %s", name, r.priority, what)
	}
	if r.ours {
		return s, false, ""
	}
	if r.other != "" {
		return s, false, describe("the selector or option " + r.other)
	}
	s = step{dst: r.dst, bits: r.bits, invert: r.invert}

	// Selectors whose outcome is known for every packet. Inverted, a rule
	// applies where not all of its selectors do.
	never := r.oif || r.l3mdev || r.iif == "lo" || r.mark&r.markMask != 0
	switch {
	case never && !r.invert:
		return s, false, ""
	case never:
		s.dst, s.bits, s.invert = ip{}, 0, false
	case r.iif != "":
		return s, false, describe("the selector iif")
	case r.invert && !r.hasDst:
		return s, false, "" // not (everything)
	}

	switch r.action {
	case unix.FR_ACT_TO_TBL:
		if s.shortest = r.suppress >= 0; s.shortest {
			s.longer = uint8(min(r.suppress, 128))
			if !r.v6 {
				s.longer = uint8(min(r.suppress, 32)) + v4Bits
			}
		}
	case unix.FR_ACT_BLACKHOLE, unix.FR_ACT_UNREACHABLE, unix.FR_ACT_PROHIBIT:
		s.refuse = true
	case unix.FR_ACT_NOP:
		return s, false, ""
	default:
		return s, false, describe(fmt.Sprintf("the action %d", r.action))
	}
	return s, true, ""
}
