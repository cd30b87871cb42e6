package plan

import (
	"slices"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// helpers compares the helpers that a file may name.
func (d *differ) helpers(base, actual, desired *State) {
	for _, h := range actual.Helpers {
		is := func(o control.Helper) bool { return o.Name == h.Name }
		was, wanted := slices.IndexFunc(base.Helpers, is), slices.IndexFunc(desired.Helpers, is)
		var want control.Helper
		switch {
		case wanted >= 0:
			want = desired.Helpers[wanted]
		case was >= 0: // the file has it no more
			want = defaultHelper(h.Name)
		default:
			continue // not the file's affair
		}
		if !want.Equal(h) {
			c := Change{Action: Edit, Kind: KindHelper, Name: h.Name, Fields: []Field{{"ports", h.Where(), want.Where()}}, helper: want}
			d.put(c, was >= 0 && wanted >= 0 && base.Helpers[was].Equal(want))
		}
	}
}

func defaultHelper(name string) control.Helper {
	for _, h := range nat.DefaultHelpers() {
		if h.Name == name {
			return control.Helper{Name: name, Ports: h.Ports}
		}
	}
	return control.Helper{Name: name}
}
