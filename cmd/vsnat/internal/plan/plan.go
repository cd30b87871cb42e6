package plan

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"vsnat/cmd/vsnat/internal/config"
	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

// Action is what is done.
type Action string

// The actions. A server whose weight alone changes is reweighted, or drained if
// it becomes 0.
const (
	Add      Action = "add"
	Edit     Action = "edit"
	Reweight Action = "reweight"
	Drain    Action = "drain"
	Remove   Action = "remove"
)

// Kind is what it is done to.
type Kind string

// The kinds.
const (
	KindService Kind = "service"
	KindServer  Kind = "server"
	KindSetting Kind = "setting"
	KindTimeout Kind = "timeout"
	KindMarks   Kind = "marks"
	KindPools   Kind = "pools"
	KindInside  Kind = "masquerade"
	KindAddress Kind = "address"
	KindHelper  Kind = "helper"
)

// Change is one change, or in a list of drift what would undo it.
type Change struct {
	Action  Action  `json:"action"`
	Kind    Kind    `json:"kind"`
	Service string  `json:"service,omitempty"` // of a service or server, as [control.ServiceID.String]
	Name    string  `json:"name,omitempty"`    // of a service in the file; of a setting or timeout
	Server  string  `json:"server,omitempty"`  // address and port
	Address string  `json:"address,omitempty"`
	Fields  []Field `json:"fields,omitempty"` // what changes; of what is added, what it is
	Servers int     `json:"servers,omitempty"`
	// Active and Inactive are the live connections of the servers that the change
	// is about.
	Active   uint64 `json:"active"`
	Inactive uint64 `json:"inactive"`

	service *Service
	server  *Server
	value   int64
	helper  control.Helper
}

// Plan is what has to change, in the order in which it is done.
type Plan struct {
	Changes []Change `json:"changes"`
	// Drift is what the director has otherwise than the file, by hand. It is not
	// touched.
	Drift []Change `json:"drift"`
	// Restart is what the file says of the director otherwise than before: it takes
	// effect with the director's next start.
	Restart []Field `json:"restart,omitempty"`
	// Wanted is the state that the plan is for; its addresses are put on their NICs
	// by the director itself.
	Wanted *State `json:"-"`
}

// differ collects the changes.
type differ struct {
	plan *Plan
	undo bool
}

// put notes a change: as drift, if the file has not changed there and nothing is
// to be undone.
func (d *differ) put(c Change, drift bool) {
	if drift && !d.undo {
		d.plan.Drift = append(d.plan.Drift, c)
		return
	}
	d.plan.Changes = append(d.plan.Changes, c)
}

// Diff tells what has to change for a director that is as actual to be as
// desired. base is what the file said when it was last applied, empty if it never
// was. undo has drift undone. The order is that of the lists: removed services,
// settings and the like, then service by service.
func Diff(base, actual, desired *State, undo bool) *Plan {
	d := &differ{&Plan{Changes: []Change{}, Drift: []Change{}, Wanted: desired}, undo}
	was, is, wanted := byKey(base.Services, serviceKey), byKey(actual.Services, serviceKey), byKey(desired.Services, serviceKey)
	for i := range actual.Services {
		s := &actual.Services[i]
		if wanted[s.ServiceID] == nil {
			d.put(removeService(s, was[s.ServiceID]), was[s.ServiceID] == nil)
		}
	}
	d.settings(base, actual, desired)
	d.timeouts(base, actual, desired)
	d.marks(base, actual, desired)
	d.pools(base, actual, desired)
	d.helpers(base, actual, desired)
	d.addresses(base, desired)
	if base.Director != nil && desired.Director != nil {
		d.plan.Restart = differing(directorFields(base.Director), directorFields(desired.Director))
	}
	for i := range desired.Services {
		w := &desired.Services[i]
		d.service(was[w.ServiceID], is[w.ServiceID], w)
	}
	return d.plan
}

func removeService(s, was *Service) Change {
	c := Change{Action: Remove, Kind: KindService, Service: s.ServiceID.String(), Name: s.Name, Servers: len(s.Servers), service: s}
	if was != nil {
		c.Name = was.Name
	}
	for i := range s.Servers {
		c.Active += uint64(s.Servers[i].Active)
		c.Inactive += uint64(s.Servers[i].Inactive)
	}
	return c
}

// service compares a service that is wanted. was and is may be nil.
func (d *differ) service(was, is, w *Service) {
	id := w.ServiceID.String()
	if is == nil {
		same := was != nil && len(serviceDiffers(was, w)) == 0 && sameServers(was, w)
		d.put(Change{Action: Add, Kind: KindService, Service: id, Name: w.Name, Fields: saying(serviceFields(&w.Service)), Servers: len(w.Servers), service: w}, same)
		if same && !d.undo {
			return // its servers went with it
		}
		for i := range w.Servers {
			d.put(addServer(w, &w.Servers[i]), false)
		}
		return
	}
	if fields := serviceDiffers(is, w); len(fields) > 0 {
		c := removeService(is, nil) // for its connections
		c.Action, c.Name, c.Fields, c.service = Edit, w.Name, fields, w
		d.put(c, was != nil && len(serviceDiffers(was, w)) == 0)
	}
	if sameServers(is, w) {
		return // as nearly all
	}
	servers := byKey(is.Servers, serverKey)
	wanted := byKey(w.Servers, serverKey)
	before := map[netip.AddrPort]*Server{}
	if was != nil {
		before = byKey(was.Servers, serverKey)
	}
	for i := range is.Servers {
		s := &is.Servers[i]
		if k := serverKey(s); wanted[k] == nil {
			d.put(Change{
				Action: Remove, Kind: KindServer, Service: id, Name: w.Name, Server: k.String(),
				Active: uint64(s.Active), Inactive: uint64(s.Inactive), service: w, server: s,
			}, before[k] == nil)
		}
	}
	for i := range w.Servers {
		s := &w.Servers[i]
		k := serverKey(s)
		kept := before[k] != nil && len(serverDiffers(&before[k].RealServer, &s.RealServer)) == 0
		if servers[k] == nil {
			d.put(addServer(w, s), kept)
		} else if fields := serverDiffers(&servers[k].RealServer, &s.RealServer); len(fields) > 0 {
			c := Change{
				Action: Edit, Kind: KindServer, Service: id, Name: w.Name, Server: k.String(), Fields: fields,
				Active: uint64(servers[k].Active), Inactive: uint64(servers[k].Inactive), service: w, server: s,
			}
			if len(fields) == 1 && fields[0].Name == "weight" {
				if c.Action = Reweight; s.Weight == 0 {
					c.Action = Drain
				}
			}
			d.put(c, kept)
		}
	}
}

func addServer(w *Service, s *Server) Change {
	return Change{
		Action: Add, Kind: KindServer, Service: w.ServiceID.String(), Name: w.Name, Server: serverKey(s).String(),
		Fields: saying(serverFields(&s.RealServer)), service: w, server: s,
	}
}

func serviceDiffers(is, wanted *Service) []Field {
	if is.Service == wanted.Service {
		return nil
	}
	return differing(serviceFields(&is.Service), serviceFields(&wanted.Service))
}

func sameServers(a, b *Service) bool {
	return slices.EqualFunc(a.Servers, b.Servers, func(x, y Server) bool { return x.RealServer == y.RealServer })
}

// value compares a number that a file may name: was and wanted say whether it
// does.
func (d *differ) value(kind Kind, name string, was, is, wanted, first int64, named, nameds bool, text func(int64) string) {
	if !nameds {
		if !named {
			return // not the file's affair
		}
		wanted = first // the file has it no more
	}
	if is != wanted {
		d.put(Change{
			Action: Edit, Kind: kind, Name: name, Fields: []Field{{name, text(is), text(wanted)}}, value: wanted,
		}, named && nameds && was == wanted)
	}
}

func (d *differ) settings(base, actual, desired *State) {
	first := nat.DefaultSettings()
	for _, s := range nat.SettingList() {
		is, known := actual.Settings[s.Name]
		if !known {
			continue
		}
		was, named := base.Settings[s.Name]
		wanted, nameds := desired.Settings[s.Name]
		d.value(KindSetting, s.Name, int64(was), int64(is), int64(wanted), int64(s.Get(&first)), named, nameds,
			func(n int64) string { return nat.Value(n).String() })
	}
}

// defaultTimeouts are those of the kernel, in seconds.
var defaultTimeouts = control.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}

func (d *differ) timeouts(base, actual, desired *State) {
	of := func(t *control.Timeouts) []int64 { return []int64{int64(t.TCP), int64(t.TCPFin), int64(t.UDP)} }
	was, is, wanted, first := of(&base.Timeouts), of(&actual.Timeouts), of(&desired.Timeouts), of(&defaultTimeouts)
	for i, name := range []string{"tcp", "tcp_fin", "udp"} {
		d.value(KindTimeout, name, was[i], is[i], wanted[i], first[i], was[i] != 0, wanted[i] != 0, seconds)
	}
}

func (d *differ) marks(base, actual, desired *State) {
	if !slices.Equal(actual.Marks, desired.Marks) {
		d.put(Change{Action: Edit, Kind: KindMarks, Fields: []Field{{"rules", markText(actual.Marks), markText(desired.Marks)}}},
			slices.Equal(base.Marks, desired.Marks))
	}
}

func (d *differ) pools(base, actual, desired *State) {
	if !samePools(actual.Pools, desired.Pools) {
		d.put(Change{Action: Edit, Kind: KindPools, Fields: []Field{{"pools", listText(actual.Pools), listText(desired.Pools)}}},
			samePools(base.Pools, desired.Pools))
	}
	if !slices.Equal(actual.Inside, desired.Inside) {
		d.put(Change{Action: Edit, Kind: KindInside, Fields: []Field{{"networks", listText(actual.Inside), listText(desired.Inside)}}},
			slices.Equal(base.Inside, desired.Inside))
	}
}

func samePools(a, b []control.Pool) bool { return slices.EqualFunc(a, b, control.Pool.Equal) }

// listText returns what there is in words.
func listText[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = list[i].String()
	}
	return strings.Join(texts, "; ")
}

// addresses compares files only: whoever takes an address off a NIC by hand
// meant it.
func (d *differ) addresses(base, desired *State) {
	text := func(a *config.Address) string { return fmt.Sprintf("%s on %s", a.Prefix, a.NIC) }
	key := func(a *config.Address) string { return text(a) }
	was, wanted := byKey(base.Addresses, key), byKey(desired.Addresses, key)
	for _, k := range slices.Sorted(maps.Keys(was)) {
		if wanted[k] == nil {
			d.put(Change{Action: Remove, Kind: KindAddress, Address: k}, false)
		}
	}
	for i := range desired.Addresses {
		if k := key(&desired.Addresses[i]); was[k] == nil {
			d.put(Change{Action: Add, Kind: KindAddress, Address: k}, false)
		}
	}
}
