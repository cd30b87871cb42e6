package alg

import (
	"testing"

	"vsnat/conntrack"
)

func TestLines(t *testing.T) {
	var k Lines
	var l, got Line
	if k.Load(7, false, &got) {
		t.Fatal("a line where none was saved")
	}
	l.N = copy(l.Text[:], "PAS")
	k.Save(7, false, &l, 1)
	if !k.Load(7, false, &got) || string(got.Text[:got.N]) != "PAS" {
		t.Fatalf("loaded %q", got.Text[:got.N])
	}
	if k.Load(8, false, &got) || k.Load(7, true, &got) {
		t.Fatal("another's line")
	}
	l.N = copy(l.Text[:], "PASV")
	k.Save(7, false, &l, 2)
	if !k.Load(7, false, &got) || string(got.Text[:got.N]) != "PASV" {
		t.Fatalf("loaded %q", got.Text[:got.N])
	}
	// One more than there is room for costs the one that waited longest.
	for i := range lineSlots {
		k.Save(conntrack.Ref(100+i), false, &l, int64(10+i))
	}
	if k.Load(7, false, &got) {
		t.Fatal("the oldest line is still there")
	}
	k.Free(7, false) // nothing to free
	for i := range lineSlots {
		if !k.Load(conntrack.Ref(100+i), false, &got) {
			t.Fatalf("line %d is lost", i)
		}
	}
	k.Free(120, false)
	l.N = copy(l.Text[:], "227")
	k.Save(7, true, &l, 1)
	for i := range lineSlots {
		if k.Load(conntrack.Ref(100+i), false, &got) != (i != 20) {
			t.Fatalf("line %d: room that was freed is not used again", i)
		}
	}
}
