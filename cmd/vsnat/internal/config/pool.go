package config

import (
	"net/netip"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// poolUser is a server or network that needs a pool.
type poolUser struct {
	name string
	at   span
}

// poolTables reads [pool.NAME].
func (r *reader) poolTables(e *entry) {
	if e.value.kind != kindTable {
		r.errorf(e.at, "a pool has a name: write [pool.NAME]")
		return
	}
	for _, e := range e.value.entries {
		if e.value.kind != kindTable {
			r.errorf(e.at, "%s is %s; a pool is a table: [pool.%s]", e.key, e.value.kind, Quote(e.key))
			continue
		}
		r.pool(e)
	}
}

func (r *reader) pool(e *entry) {
	p := control.Pool{Name: e.key, FirstPort: nat.DefaultFirstPort, LastPort: nat.DefaultLastPort}
	seen := map[netip.Addr]span{}
	r.table(e.value, "[pool."+Quote(e.key)+"]", fields{
		"address": func(e *entry) {
			r.each(e, func(n *node) {
				s, ok := r.text(n, `an address of the director, such as "192.0.2.1"`)
				if !ok {
					return
				}
				a, ok := r.address(n, s)
				switch first, twice := seen[a]; {
				case !ok:
				case twice:
					r.errorf(n.at, "%s is there already, at %s", a, first)
				case a.IsUnspecified() || a.IsMulticast() || a.IsLoopback():
					r.errorf(n.at, "%s is no address for a NIC", a)
				default:
					seen[a] = n.at
					p.Addresses = append(p.Addresses, a)
				}
			})
		},
		"ports": func(e *entry) {
			if first, last := r.ports(e.value); first != 0 {
				p.FirstPort, p.LastPort = first, last
			}
		},
	})
	r.pools[e.key] = e.at
	r.cfg.Pools = append(r.cfg.Pools, p)
}

// masqueradeTables reads [[masquerade]].
func (r *reader) masqueradeTables(e *entry) { r.tables(e, r.masqueradeTable) }

func (r *reader) masqueradeTable(t *node) {
	var pool, nic string
	var networks []netip.Prefix
	r.table(t, "[[masquerade]]", fields{
		"network": func(e *entry) {
			r.each(e, func(n *node) {
				p, ok := r.prefix(n)
				if !ok {
					return
				}
				p = p.Masked()
				if first, twice := r.networks[p]; twice {
					r.errorf(n.at, "%s is masqueraded already, at %s", p, first)
					return
				}
				r.networks[p] = n.at
				networks = append(networks, p)
			})
		},
		"egress": func(e *entry) { nic, _ = r.nic(e.value) },
		"pool": func(e *entry) {
			if s, ok := r.text(e.value, "the name of a pool"); ok {
				pool = s
				r.poolUsers = append(r.poolUsers, poolUser{s, e.value.at})
			}
		},
	})
	if t.get("network") == nil && !r.broken {
		r.errorf(t.at, `[[masquerade]] needs network = "ADDRESS/LENGTH"`)
	}
	for _, p := range networks {
		r.cfg.Inside = append(r.cfg.Inside, control.Masquerade{Network: p, NIC: nic, Pool: pool})
	}
}

// checkPools finds users of pools that are not there, and pools without users.
func (r *reader) checkPools() {
	if r.broken {
		return
	}
	used := map[string]bool{nat.DefaultPool: true}
	for _, u := range r.poolUsers {
		used[u.name] = true
		if _, ok := r.pools[u.name]; !ok && u.name != nat.DefaultPool {
			r.errorf(u.at, "there is no pool %q; add [pool.%s] with address and ports", u.name, Quote(u.name))
		}
	}
	for _, p := range r.cfg.Pools {
		if !used[p.Name] {
			r.warnf(r.pools[p.Name], "no server and no network has the pool %q", p.Name)
		}
	}
}
