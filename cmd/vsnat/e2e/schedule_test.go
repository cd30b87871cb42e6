package e2e

import (
	"slices"
	"testing"

	"vsnat/bench/lab"
)

// TestRoundRobin has each server answer in turn, the newest first, as the
// kernel's list of servers stands.
func TestRoundRobin(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.cluster("rr")
	want := []string{server4, server3, server2, server1, server4, server3, server2, server1, server4}
	if got := s.pages(len(want)); !slices.Equal(got, want) {
		t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
	}
}

// TestWeightedRoundRobin checks the exact order of the kernel's scheduler for
// the weights 4, 3, 2, 1, given one by one: first a round for every server,
// then those of weight 4, of 3 and above, of 2 and above, and so on.
func TestWeightedRoundRobin(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.ipvsadm("-A -t " + web + " -s wrr")
	for i, ip := range serverIPs {
		s.ipvsadm("-a -t " + web + " -r " + ip + ":80 -m -w " + string('4'-rune(i)))
	}
	cycle := []string{
		server4, server3, server2, server1, // at least 1
		server1,          // at least 4
		server2, server1, // at least 3
		server3, server2, server1, // at least 2
	}
	want := slices.Concat(cycle, cycle)
	if got := s.pages(len(want)); !slices.Equal(got, want) {
		t.Errorf("the servers answered in the order\n%v, want\n%v", got, want)
	}
}
