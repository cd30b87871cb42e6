package control

import "slices"

// Life is what becomes of those who use a server of a service that drains, is
// down or is removed. In a command the events change the preset; in an answer
// they say all.
type Life struct {
	// Preset is the policy's name, such as dns. In a command "" is kernel, and in
	// an answer a policy that has no name.
	Preset  string    `json:"preset,omitempty"`
	Drain   LifeEvent `json:"drain,omitzero"`
	Down    LifeEvent `json:"down,omitzero"`
	Removed LifeEvent `json:"removed,omitzero"`
}

// LifeEvent says what happens at one event, by class of traffic.
type LifeEvent struct {
	Established LifeCell `json:"established,omitempty"`
	New         LifeCell `json:"new,omitempty"`
	UDP         LifeCell `json:"udp,omitempty"`
	Persistent  LifeCell `json:"persistent,omitempty"`
	// Deadline is when the second actions of cells follow, in seconds after the
	// event. In a command nil is that of the preset, if one is needed.
	Deadline *uint32 `json:"deadline,omitempty"`
}

// LifeCell is an action, or ACTION,ACTION: from the event on, and from the
// deadline on. In a command "" is what the preset says.
type LifeCell string

// The names of events and of classes of traffic.
var (
	LifeEvents  = []string{"drain", "down", "removed"}
	LifeTraffic = []string{"established", "new", "udp", "persistent"}
)

// Event returns what the policy says of the event of that name, or nil.
func (l *Life) Event(name string) *LifeEvent {
	if i := slices.Index(LifeEvents, name); i >= 0 {
		return []*LifeEvent{&l.Drain, &l.Down, &l.Removed}[i]
	}
	return nil
}

// Cell returns what is said of the class of traffic of that name, or nil.
func (e *LifeEvent) Cell(name string) *LifeCell {
	if i := slices.Index(LifeTraffic, name); i >= 0 {
		return []*LifeCell{&e.Established, &e.New, &e.UDP, &e.Persistent}[i]
	}
	return nil
}

// LifeCounts count what the policy did.
type LifeCounts struct {
	Moved       uint64 `json:"moved"`       // connections, flows and templates given up, to be scheduled anew
	Reset       uint64 `json:"reset"`       // connections ended or refused by a reset
	Unreachable uint64 `json:"unreachable"` // ended or refused by port unreachable
}

// ServerState is what has befallen a server.
type ServerState string

// The states; the latter goes before the former.
const (
	StateUp      ServerState = "up"
	StateDrain   ServerState = "drain" // weight 0
	StateDown    ServerState = "down"
	StateRemoved ServerState = "removed"
)
