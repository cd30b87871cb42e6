package config

import (
	"slices"
	"strings"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// helpers reads [helpers].
func (r *reader) helpers(e *entry) {
	t, ok := r.asTable(e)
	if !ok {
		return
	}
	known := fields{}
	for _, h := range nat.DefaultHelpers() {
		known[h.Name] = r.helper
	}
	r.table(t, "[helpers]", known)
}

// helper reads the ports of one helper.
func (r *reader) helper(e *entry) {
	h := control.Helper{Name: e.key, Ports: []uint16{}}
	r.each(e, func(n *node) {
		port, ok := r.number(n, 2, 65535)
		switch {
		case !ok:
		case slices.Contains(h.Ports, uint16(port)):
			r.errorf(n.at, "port %d is there already", port)
		default:
			h.Ports = append(h.Ports, uint16(port))
		}
	})
	if err := nat.CheckHelper(nat.HelperSpec{Name: h.Name, Ports: h.Ports}); err != nil {
		r.errorf(e.at, "%s", strings.TrimPrefix(err.Error(), "nat: set-helpers "))
		return
	}
	r.cfg.Helpers = append(r.cfg.Helpers, h)
}
