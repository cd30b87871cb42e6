package daemon

import (
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
)

func setLife(id control.ServiceID, l *control.Life) *control.Command {
	return &control.Command{Op: control.SetLife, Service: &control.Service{ServiceID: id, Life: l}}
}

// What a listing says of a policy sets the same policy.
func TestLifeIsWhatWasSet(t *testing.T) {
	d, _, _ := newDaemon(t)
	d.apply(t, addService(addedID))
	shown := func() *control.Life {
		e, err := d.Service(addedID)
		if err != nil {
			t.Fatal(err)
		}
		return e.Life
	}
	for _, name := range nat.LifePresets() {
		d.apply(t, setLife(addedID, &control.Life{Preset: name}))
		is := shown()
		if name == "kernel" {
			if is != nil {
				t.Errorf("kernel: %+v", is)
			}
			continue
		}
		if is.Preset != name {
			t.Errorf("%s is shown as %q", name, is.Preset)
		}
		text, err := json.Marshal(is)
		if err != nil {
			t.Fatal(err)
		}
		var again control.Life
		if err := json.Unmarshal(text, &again); err != nil {
			t.Fatal(err)
		}
		again.Preset = "" // the cells say it all
		d.apply(t, setLife(addedID, nil), setLife(addedID, &again))
		if !reflect.DeepEqual(shown(), is) {
			t.Errorf("%s: got %s, want %s", name, text, text)
		}
	}
	ten := uint32(600)
	d.apply(t, setLife(addedID, &control.Life{
		Preset:  "stateful",
		Drain:   control.LifeEvent{Established: "keep, reset-client", Deadline: &ten},
		Removed: control.LifeEvent{Established: "reset-both", UDP: "move"}, // its deadline has nothing left
	}))
	is := shown()
	if is.Preset != "" || is.Drain.Established != "keep,reset-client" || is.Drain.UDP != "keep,move" || *is.Drain.Deadline != 600 ||
		is.Removed.Established != "reset-both" || is.Removed.New != "move" || is.Removed.Deadline != nil || is.Down.New != "move" {
		t.Errorf("%+v", is)
	}
	// Those who know of no policy, ipvsadm first, leave it.
	d.apply(t, &control.Command{Op: control.EditService, Service: &control.Service{ServiceID: addedID, Scheduler: "rr"}})
	if !reflect.DeepEqual(shown(), is) {
		t.Errorf("after an edit %+v", shown())
	}
	for _, c := range []struct {
		l    control.Life
		says string
	}{
		{control.Life{Preset: "dsn"}, `no preset "dsn"; there are kernel, stateful, dns, fail-fast`},
		{control.Life{Down: control.LifeEvent{UDP: "mvoe"}}, `down, udp: there is no action "mvoe"; there are kernel, keep`},
		{control.Life{Down: control.LifeEvent{UDP: ",move"}}, `no action ""`},
		{control.Life{Down: control.LifeEvent{UDP: "reset-both"}}, "UDP knows no reset"},
		{control.Life{Drain: control.LifeEvent{Deadline: &ten}}, "nothing happens then"},
	} {
		for _, cmd := range []*control.Command{
			setLife(addedID, &c.l),
			{Op: control.EditService, Service: &control.Service{ServiceID: addedID, Scheduler: "rr", Life: &c.l}},
		} {
			if err := d.do(cmd); !errors.Is(err, syscall.EINVAL) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s: %v, want %q", cmd.Op, err, c.says)
			}
		}
	}
	if !reflect.DeepEqual(shown(), is) {
		t.Errorf("after refusals %+v", shown())
	}
}

func TestServerStates(t *testing.T) {
	d, _, _ := newDaemon(t)
	one := control.RealServer{Address: netip.MustParseAddr("10.0.2.21"), Port: 8081, Method: control.Masq, Weight: 7}
	name := control.RealServer{Address: one.Address, Port: one.Port}
	server := func(op control.Op, s control.RealServer) *control.Command {
		return &control.Command{Op: op, Service: &control.Service{ServiceID: addedID}, Server: &s}
	}
	quiet := one
	quiet.Weight = 0
	d.apply(t, addService(addedID), setLife(addedID, &control.Life{Preset: "stateful"}), addServer(addedID, one))
	for _, c := range []struct {
		cmd    *control.Command
		state  control.ServerState
		weight int32
		due    bool
	}{
		{server(control.ServerDown, name), control.StateDown, 7, true},
		{server(control.EditServer, quiet), control.StateDown, 0, true},
		{server(control.ServerUp, name), control.StateDrain, 0, true},
		{server(control.EditServer, one), control.StateUp, 7, false},
		{server(control.DeleteServer, name), control.StateRemoved, 7, true},
	} {
		d.apply(t, c.cmd)
		d.engine.Expire(d.now(), 1000) // takes the time
		e, err := d.Service(addedID)
		if err != nil {
			t.Fatal(err)
		}
		s := append(e.Servers, e.Removed...)[0]
		if s.State != c.state || s.Weight != c.weight || (s.Deadline != nil) != c.due {
			t.Errorf("%s: %+v", c.cmd.Op, s)
		}
		if s.Deadline != nil && (*s.Deadline > 300 || *s.Deadline < 58) {
			t.Errorf("%s: %d s left", c.cmd.Op, *s.Deadline)
		}
	}
	if err := d.do(server(control.ServerDown, name)); !errors.Is(err, syscall.ENOENT) {
		t.Error(err)
	}
}
