package config

// addressTables reads [[address]].
func (r *reader) addressTables(e *entry) { r.tables(e, r.addressTable) }

func (r *reader) addressTable(t *node) {
	a := Address{Announce: DefaultAnnounce}
	ok := false
	r.table(t, "[[address]]", fields{
		"address": func(e *entry) {
			if a.Prefix, ok = r.prefix(e.value); !ok {
				return
			}
			if ip := a.Prefix.Addr(); ip.IsUnspecified() || ip.IsMulticast() || ip.IsLoopback() {
				r.errorf(e.value.at, "%s is no address for a NIC", ip)
			}
		},
		"nic": func(e *entry) { a.NIC, _ = r.nic(e.value) },
		"announce": func(e *entry) {
			if v, ok := r.number(e.value, 0, maxAnnounce); ok {
				a.Announce = int(v)
			}
		},
	})
	for _, key := range []string{"address", "nic"} {
		if t.get(key) == nil && !r.broken {
			r.errorf(t.at, "[[address]] needs %s", key)
		}
	}
	if !ok {
		return
	}
	name := a.Prefix.Addr().String()
	if first, twice := r.addresses[name]; twice {
		r.errorf(t.get("address").value.at, "%s is there already, at %s", name, first)
		return
	}
	r.addresses[name] = t.get("address").at
	r.cfg.Addresses = append(r.cfg.Addresses, a)
}
