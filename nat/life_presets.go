package nat

import "time"

// lifePresets are the policies that have a name.
var lifePresets = []struct {
	name   string
	policy LifePolicy
}{
	// As IPVS does it.
	{"kernel", LifePolicy{}},
	// Connections are let finish, within a time; what is new goes elsewhere. As
	// the draining of cloud balancers, whose time is five minutes, too.
	{"stateful", LifePolicy{
		Drain: EventPolicy{
			First:    Actions{Keep, Move, Keep, Move},
			Deadline: 5 * time.Minute,
			Then:     Actions{Established: ResetBoth, UDPFlow: Move},
		},
		// A server that is down may only have missed a check: what it has
		// established gets a minute. A datagram without an answer is lost.
		Down: EventPolicy{
			First:    Actions{Keep, Move, Move, Move},
			Deadline: time.Minute,
			Then:     Actions{Established: ResetBoth},
		},
		Removed: EventPolicy{
			First:    Actions{Keep, Move, Keep, Move},
			Deadline: 5 * time.Minute,
			Then:     Actions{Established: ResetBoth, UDPFlow: Move},
		},
	}},
	// Every question is one of its own: another server answers the next.
	{"dns", LifePolicy{
		Drain: EventPolicy{
			First:    Actions{Keep, Move, Move, Move},
			Deadline: 30 * time.Second,
			Then:     Actions{Established: ResetBoth},
		},
		Down:    EventPolicy{First: Actions{ResetBoth, Move, Move, Move}},
		Removed: EventPolicy{First: Actions{ResetBoth, Move, Move, Move}},
	}},
	// Clients hear at once that their server is lost, and begin again elsewhere.
	{"fail-fast", LifePolicy{
		Drain:   EventPolicy{First: Actions{Keep, Move, Keep, Move}},
		Down:    EventPolicy{First: Actions{ResetBoth, Move, Unreachable, Move}},
		Removed: EventPolicy{First: Actions{ResetBoth, Move, Unreachable, Move}},
	}},
}

// LifePresets returns the names of the presets, the default first.
func LifePresets() []string {
	names := make([]string, len(lifePresets))
	for i := range lifePresets {
		names[i] = lifePresets[i].name
	}
	return names
}

// LifePreset returns the policy of that name.
func LifePreset(name string) (p LifePolicy, ok bool) {
	for i := range lifePresets {
		if lifePresets[i].name == name {
			return lifePresets[i].policy, true
		}
	}
	return p, false
}

// Preset returns the name of the preset that the policy equals, "" for none.
func (p LifePolicy) Preset() string {
	for i := range lifePresets {
		if lifePresets[i].policy == p {
			return lifePresets[i].name
		}
	}
	return ""
}

// LifeActions returns the names of all actions, in the order of their numbers.
func LifeActions() []string { return actionNames[:] }
