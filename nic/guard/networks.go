package guard

import (
	"fmt"
	"net/netip"
	"slices"
)

// MaxNetworks is how many networks a guard takes.
const MaxNetworks = 64

// checkNetworks returns the networks masked, sorted and without those that lie in
// others, or what is wrong with one.
func checkNetworks(list []netip.Prefix) ([]netip.Prefix, error) {
	if len(list) > MaxNetworks {
		return nil, fmt.Errorf("guard: %d networks: there is room for %d", len(list), MaxNetworks)
	}
	sorted := make([]netip.Prefix, 0, len(list))
	for _, p := range list {
		if !p.IsValid() || p.Addr().Is4In6() {
			return nil, fmt.Errorf("guard: %s is no network: give an IPv4 or IPv6 prefix", p)
		}
		sorted = append(sorted, p.Masked())
	}
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	merged := sorted[:0]
	for _, p := range sorted {
		if n := len(merged); n == 0 || !merged[n-1].Overlaps(p) {
			merged = append(merged, p)
		}
	}
	return merged, nil
}

// setNetworks replaces the networks if they differ.
func (g *Guard) setNetworks(list []netip.Prefix) error {
	list, err := checkNetworks(list)
	if err != nil || slices.Equal(g.networks, list) {
		return err
	}
	if err := g.backend.setNetworks(g.networks, list); err != nil {
		return fmt.Errorf("guard: cannot set %d networks: %w", len(list), err)
	}
	g.networks = list
	return nil
}
