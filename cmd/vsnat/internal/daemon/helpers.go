package daemon

import (
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// Helpers implements [control.Director].
func (d *daemon) Helpers() (all []control.HelperEntry) {
	d.engine.Update(func(tx *nat.Tx) {
		for _, h := range tx.Helpers() {
			e := control.HelperEntry{
				Helper: control.Helper{Name: h.Name, Ports: append([]uint16{}, h.Ports...)}, Protocol: control.TCP,
				Expected: h.Counters.Expected, Changed: h.Counters.Changed, Refused: h.Counters.Refused,
			}
			if h.Proto == nat.ProtoUDP {
				e.Protocol = control.UDP
			}
			all = append(all, e)
		}
	})
	return all
}

// helpers changes the ports of helpers.
func (r *run) helpers(list []control.Helper) error {
	specs := make([]nat.HelperSpec, len(list))
	for i, h := range list {
		specs[i] = nat.HelperSpec{Name: h.Name, Ports: h.Ports}
	}
	r.releases = true
	return r.tx.SetHelpers(specs)
}
