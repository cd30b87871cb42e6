package daemon

import (
	"fmt"
	"slices"
	"syscall"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
	"vsnat/nic"
)

// noNIC is an ifindex that no NIC has.
const noNIC = -1

// Marks implements [control.Director].
func (d *daemon) Marks() []control.MarkRule {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.marks)
}

// marked reports whether some rule gives packets the mark. d.mu is held.
func (d *daemon) marked(mark uint32) bool {
	return slices.ContainsFunc(d.marks, func(r control.MarkRule) bool { return r.Mark == mark })
}

// mark changes the mark rules.
func (r *run) mark(c *control.Command) error {
	rules := slices.Clone(r.marks)
	switch c.Op {
	case control.AddMark:
		at := len(rules)
		if c.At > 0 {
			at = c.At - 1
		}
		if at > len(rules) {
			return fmt.Errorf("daemon: add-mark: place %d, but there are %d rules: %w", c.At, len(rules), syscall.EINVAL)
		}
		for _, m := range c.Marks {
			if slices.Contains(rules, m) {
				return fmt.Errorf("daemon: add-mark %s: there is this rule: %w", m, syscall.EEXIST)
			}
		}
		rules = slices.Insert(rules, at, c.Marks...)
	case control.DeleteMark:
		var err error
		if rules, err = without(rules, c.Marks, c.Op, "rule"); err != nil {
			return err
		}
	default:
		rules = slices.Clone(c.Marks)
	}
	links := r.d.routes.Routes().Links()
	for _, m := range c.Marks {
		if c.Op != control.DeleteMark && m.NIC != "" && linkIndex(links, m.NIC) == noNIC {
			return noSuchNIC(c.Op, m, m.NIC)
		}
	}
	if err := r.tx.SetMarkRules(markRules(rules, links)); err != nil {
		return err
	}
	r.marks, r.releases = rules, true
	return nil
}

// without returns list without those that op takes away, each of which must be
// there; what is the word for one of them.
func without[T interface {
	comparable
	fmt.Stringer
}](list, gone []T, op control.Op, what string) ([]T, error) {
	for _, g := range gone {
		at := slices.Index(list, g)
		if at < 0 {
			return nil, fmt.Errorf("daemon: %s %s: there is no such %s: %w", op, g, what, syscall.ENOENT)
		}
		list = slices.Delete(list, at, at+1)
	}
	return list, nil
}

func noSuchNIC(op control.Op, subject fmt.Stringer, nic string) error {
	return fmt.Errorf("daemon: %s %s: there is no NIC %s: %w", op, subject, nic, syscall.ENODEV)
}

// markRules returns the rules as the engine has them. A NIC that has vanished
// receives nothing.
func markRules(rules []control.MarkRule, links []nic.Link) []nat.MarkRule {
	all := make([]nat.MarkRule, len(rules))
	for i, r := range rules {
		all[i] = nat.MarkRule{Mark: r.Mark, Selector: nat.Selector{
			Src: r.Src, Dst: r.Dst, Proto: r.Protocol.Number(), FirstPort: r.FirstPort, LastPort: r.LastPort,
		}}
		if r.NIC != "" {
			all[i].NIC = linkIndex(links, r.NIC)
		}
	}
	return all
}

func linkIndex(links []nic.Link, name string) int {
	for _, l := range links {
		if l.Name == name {
			return l.Index
		}
	}
	return noNIC
}

// followLinks has the rules follow NICs that came, left or came back as others.
// It reports whether the engine may own something else now. d.mu is held.
func (d *daemon) followLinks(links []nic.Link) (changed bool) {
	rules := markRules(d.marks, links)
	d.engine.Update(func(tx *nat.Tx) {
		if changed = !slices.Equal(tx.MarkRules(), rules); changed {
			// They were accepted before, and differ in their NICs only.
			_ = tx.SetMarkRules(rules)
		}
	})
	return d.followInside(links) || changed
}
