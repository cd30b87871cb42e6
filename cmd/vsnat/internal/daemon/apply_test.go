package daemon

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
	"vsnat/nic"
)

// What becomes of the commands beside a refused one.
func TestModes(t *testing.T) {
	good := func(port uint16) control.Command {
		id := addedID
		id.Port = port
		return *addService(id)
	}
	for _, c := range []struct {
		mode    control.Mode
		done    []uint16
		refused []int
	}{
		{control.Stop, []uint16{91}, []int{1}},
		{control.GoOn, []uint16{91, 93}, []int{1, 3}},
		{control.Atomic, nil, []int{1}},
	} {
		d, _, _ := newDaemon(t)
		if err := d.own(); err != nil {
			t.Fatal(err)
		}
		g := d.guard.(*fakeGuard)
		before := g.sets
		refused := d.Apply([]control.Command{good(91), good(91), good(93), good(93)}, c.mode)
		var at []int
		for _, r := range refused {
			at = append(at, r.Index)
			if !errors.Is(r.Err, syscall.EEXIST) {
				t.Errorf("%s: %v", c.mode, r.Err)
			}
		}
		var done []uint16
		for _, s := range d.Services() {
			if s.Port > 90 {
				done = append(done, s.Port)
			}
		}
		slices.Sort(done)
		if !slices.Equal(at, c.refused) || !slices.Equal(done, c.done) {
			t.Errorf("%s: done %v, refused %v; want %v, %v", c.mode, done, at, c.done, c.refused)
		}
		for _, port := range []uint16{91, 93} {
			guarded, _ := guards(g, netip.AddrPortFrom(added.Addr(), port))
			if guarded != slices.Contains(c.done, port) {
				t.Errorf("%s: port %d guarded: %v", c.mode, port, guarded)
			}
		}
		if g.sets-before > 1 {
			t.Errorf("%s: the guard was told %d times", c.mode, g.sets-before)
		}
	}
}

func setCommand(values map[string]nat.Value) *control.Command {
	return &control.Command{Op: control.Set, Settings: values}
}

func TestSettings(t *testing.T) {
	d, _, _ := newDaemon(t)
	value := func(name string) nat.Value {
		for _, s := range d.Settings() {
			if s.Name == name {
				return s.Value
			}
		}
		t.Fatalf("no setting %s", name)
		return 0
	}
	for _, s := range d.Settings() {
		if _, _, pair := s.Value.Split(); s.Value != s.Default || s.Help == "" || !pair && s.Max < int(s.Value) {
			t.Errorf("at first %+v", s)
		}
	}
	d.apply(t, setCommand(map[string]nat.Value{"sloppy_tcp": 1, "net.ipv4.vs.am_droprate": 20}))
	if value("sloppy_tcp") != 1 || value("am_droprate") != 20 || value("conn_reuse_mode") != 1 {
		t.Errorf("%+v", d.Settings())
	}
	for _, c := range []struct {
		values map[string]nat.Value
		errno  syscall.Errno
		says   string
	}{
		{map[string]nat.Value{"sloppy_tpc": 1}, syscall.ENOENT, "is it sloppy_tcp?"},
		{map[string]nat.Value{"x": 1}, syscall.ENOENT, "`vsnat set' lists all"},
		{map[string]nat.Value{"est_nice": 0}, syscall.EOPNOTSUPP, "does nothing in vsnat"},
		{map[string]nat.Value{"am_droprate": 30, "drop_packet": 4}, syscall.EINVAL, "4 is not in 0..3"},
	} {
		err := d.do(setCommand(c.values))
		if !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%v: %v", c.values, err)
		}
	}
	if value("am_droprate") != 20 {
		t.Error("a refused command changed a setting")
	}
}

func TestEverySettingWorks(t *testing.T) {
	d, _, _ := newDaemon(t)
	for _, s := range d.Settings() {
		other := s.Value + 1
		switch _, _, pair := s.Value.Split(); {
		case pair:
			other = nat.Pair(1, 2)
		case int(other) > s.Max:
			other = s.Value - 1
		}
		if s.Name == "secure_tcp" || s.Name == "drop_packet" {
			other = 3 // 2 goes back to 1 by itself while memory suffices
		}
		d.apply(t, setCommand(map[string]nat.Value{s.Name: other}))
		at := slices.IndexFunc(d.Settings(), func(is control.Setting) bool { return is.Name == s.Name })
		if got := d.Settings()[at].Value; got != other {
			t.Errorf("%s is %d, was set to %d", s.Name, got, other)
		}
	}
}

func TestMarks(t *testing.T) {
	d, _, r := newDaemon(t, clientNIC)
	d.mustReconcile(t, r)
	name := r.links[0].Name
	web := control.MarkRule{Mark: 7, Dst: netip.MustParsePrefix("192.0.2.0/24"), Protocol: control.TCP, FirstPort: 80, LastPort: 443}
	nicRule := control.MarkRule{Mark: 8, NIC: name}
	add := func(at int, m ...control.MarkRule) *control.Command {
		return &control.Command{Op: control.AddMark, Marks: m, At: at}
	}
	d.apply(t, add(0, web), add(1, nicRule))
	if got := d.Marks(); !slices.Equal(got, []control.MarkRule{nicRule, web}) {
		t.Errorf("%v", got)
	}
	rules := func() (rules []nat.MarkRule) {
		d.engine.Update(func(tx *nat.Tx) { rules = tx.MarkRules() })
		return rules
	}
	want := []nat.MarkRule{
		{Mark: 8, Selector: nat.Selector{NIC: clientNIC}},
		{Mark: 7, Selector: nat.Selector{Dst: web.Dst, Proto: nat.ProtoTCP, FirstPort: 80, LastPort: 443}},
	}
	if got := rules(); !reflect.DeepEqual(got, want) {
		t.Errorf("the engine has %+v", got)
	}
	for _, c := range []struct {
		cmd   *control.Command
		errno syscall.Errno
	}{
		{add(0, web), syscall.EEXIST},
		{add(4, control.MarkRule{Mark: 9}), syscall.EINVAL},
		{add(0, control.MarkRule{Mark: 9, NIC: "none"}), syscall.ENODEV},
		{&control.Command{Op: control.DeleteMark, Marks: []control.MarkRule{{Mark: 9}}}, syscall.ENOENT},
	} {
		if err := d.do(c.cmd); !errors.Is(err, c.errno) {
			t.Errorf("%s %v: %v, want %v", c.cmd.Op, c.cmd.Marks, err, c.errno)
		}
	}
	// The NIC goes, and comes back as another one.
	l := r.links[0]
	r.setLinks()
	d.followRoutes()
	if got := rules()[0].NIC; got != noNIC {
		t.Errorf("without its NIC the rule is for NIC %d", got)
	}
	l.Index = otherNIC
	r.setLinks(nic.Link{Index: otherNIC, Name: name})
	d.followRoutes()
	if got := rules()[0].NIC; got != otherNIC {
		t.Errorf("with its NIC back the rule is for NIC %d", got)
	}
	d.apply(t, &control.Command{Op: control.DeleteMark, Marks: []control.MarkRule{nicRule}})
	if got := d.Marks(); !slices.Equal(got, []control.MarkRule{web}) {
		t.Errorf("%v", got)
	}
	d.apply(t, &control.Command{Op: control.SetMarks})
	if len(d.Marks())+len(rules()) != 0 {
		t.Errorf("%v, %v", d.Marks(), rules())
	}
	// One list: what is refused undoes what came before.
	refused := d.Apply([]control.Command{*add(0, web), *add(0, web)}, control.Atomic)
	if len(refused) != 1 || len(d.Marks())+len(rules()) != 0 {
		t.Errorf("refused %v; %v, %v", refused, d.Marks(), rules())
	}
}

func TestAvailablePages(t *testing.T) {
	if n, err := availablePages(); err != nil || n < 1 {
		t.Errorf("%d, %v", n, err)
	}
}
