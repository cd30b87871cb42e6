package nat

import (
	"reflect"
	"slices"
	"testing"
)

// TestExcerptKnowsAllFields fails when a service, a server or an engine has got a
// field that nobody has thought of copying in excerpt.go: do that, if a decision can
// depend on it, and add it here.
func TestExcerptKnowsAllFields(t *testing.T) {
	for _, c := range []struct {
		of   reflect.Type
		want []string
	}{
		{reflect.TypeFor[service](), []string{"key", "stats", "life", "spec", "observer", "mu", "deleted", "sched", "list", "dests"}},
		{reflect.TypeFor[dest](), []string{
			"Server", "key", "service", "method", "tunnel", "pathMTU", "pool", "available", "doom", "quiesced", "upper", "lower", "templates", "stats", "weight", "life",
		}},
		{reflect.TypeFor[Engine](), []string{
			"opt", "table", "snap", "routes", "known", "total", "host", "tunnelIDs", "timeouts", "expired", "helped", "lines", "flows", "sweepDue", "traces", "tracers", "sweeping", "sweepFrom", "parents", "nodest",
			"lifeSweep", "lifeDue", "learnt", "dropCounter", "dropDue", "dropper", "mu", "services", "byKey", "trash", "dests", "free", "settings", "memory", "memoryKnown",
			"defences", "rules", "pools", "masquerades", "retiring", "helperPorts", "dirty", "swept",
		}},
	} {
		for _, f := range reflect.VisibleFields(c.of) {
			if len(f.Index) == 1 && !slices.Contains(c.want, f.Name) {
				t.Errorf("%s has a field %s: is it to be copied?", c.of.Name(), f.Name)
			}
		}
	}
}
