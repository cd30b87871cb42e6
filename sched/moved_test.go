package sched_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vsnat/sched"
)

var update = flag.Bool("update", false, "write the measured table into docs/schedulers.md")

var document = filepath.Join("..", "docs", "schedulers.md")

// The table of moved connections stands between these lines of the document.
const (
	movedBegin = "<!-- measured by TestMovedConnections; go test ./sched -run TestMovedConnections -update -->\n"
	movedEnd   = "<!-- end -->\n"
)

var serverCounts = []int{4, 10, 100}

// TestMovedConnections measures what share of clients goes elsewhere when one
// of N servers leaves, and holds the document to it.
func TestMovedConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes with the race detector, and is one goroutine")
	}
	var table strings.Builder
	row := func(name string, cell func(n int) float64) {
		fmt.Fprintf(&table, "| %s |", name)
		for _, n := range serverCounts {
			fmt.Fprintf(&table, " %.1f %% |", 100*cell(n))
		}
		table.WriteByte('\n')
	}
	table.WriteString("| scheduler |")
	for _, n := range serverCounts {
		fmt.Fprintf(&table, " N = %d |", n)
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(serverCounts)) + "\n")
	row("least possible: the clients of the server that leaves", func(n int) float64 { return 1 / float64(n) })
	for _, name := range sched.Names() {
		if name != "mh" {
			row("`"+name+"`", func(n int) float64 { return moved(t, name, sched.Options{}, n) })
			continue
		}
		for _, size := range []int{251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65521, 131071} {
			row(fmt.Sprintf("`mh`, %d slots", size), func(n int) float64 { return moved(t, name, sched.Options{MHTableSize: size}, n) })
		}
	}

	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := bytes.Cut(text, []byte(movedBegin))
	old, after, ok2 := bytes.Cut(rest, []byte(movedEnd))
	if !ok || !ok2 {
		t.Fatalf("%s has no place for the table: the lines %s%s", document, movedBegin, movedEnd)
	}
	if string(old) == table.String() {
		return
	}
	if !*update {
		t.Fatalf("%s does not say what is measured (-update writes it):\n%s", document, table.String())
	}
	text = slices.Concat(before, []byte(movedBegin+table.String()+movedEnd), after)
	if err := os.WriteFile(document, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// moved has clients connect one after the other, takes one of n servers away,
// and has the same clients connect again in another order; it returns the share
// of them that reach another server than before, or none: the mean over every
// server's leaving. 200 connections are open at a time and end in any order.
// Each client has a destination of its own, for the schedulers that go by that.
func moved(t *testing.T, name string, o sched.Options, n int) float64 {
	const open = 200
	clients := 10_000
	if n >= 100 {
		clients = 1_000 // and more servers to leave
	}
	weight := int32(100)
	if name == "sh" {
		weight = 1 // as many of its 256 buckets in a row
	}
	requests := make([]sched.Request, clients)
	for i, a := range rand.New(rand.NewPCG(1, 2)).Perm(1 << 20)[:clients] {
		requests[i].Client, requests[i].Virtual = ipv4(10<<24|uint32(a)), ipv4(100<<24|uint32(a))
	}
	var sum int
	for at := range n {
		// The same for each, so that every client loses its server once.
		random := rand.New(rand.NewPCG(3, 4))
		o.Seed = 5
		s, err := sched.NewWith(name, o)
		if err != nil {
			t.Fatal(err)
		}
		list := make([]*sched.Server, n)
		for i := range list {
			list[i] = &sched.Server{Addr: ipv4(192<<24 | 168<<16 | uint32(i+1)), Port: 80, Weight: weight, LastWeight: weight, Available: true}
		}
		s.Init(list)
		now := int64(time.Hour)
		var ring [open]*sched.Server
		connect := func(i int) *sched.Server {
			r := &requests[i]
			r.Now = now
			now += int64(time.Millisecond)
			slot := &ring[random.IntN(open)]
			if old := *slot; old != nil {
				old.Active.Add(-1)
				old.Total.Add(-1)
			}
			if *slot = s.Pick(list, r); *slot != nil {
				(*slot).Active.Add(1)
				(*slot).Total.Add(1)
				if o, ok := s.(sched.Observer); ok {
					o.Observe(*slot, int64(time.Millisecond), now)
				}
			}
			return *slot
		}
		before := make([]*sched.Server, clients)
		for i := range before {
			before[i] = connect(i)
		}
		gone := list[at]
		gone.Available = false
		list = slices.Delete(slices.Clone(list), at, at+1)
		s.Changed(sched.Delete, gone, at, list)
		for _, i := range random.Perm(clients) {
			if connect(i) != before[i] {
				sum++
			}
		}
	}
	return float64(sum) / float64(n*clients)
}

func ipv4(a uint32) sched.Addr {
	addr := sched.Addr{10: 0xff, 11: 0xff}
	binary.BigEndian.PutUint32(addr[12:], a)
	return addr
}

// Every scheduler is described, with what a pick costs.
func TestDocumentNamesAll(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	sections, costs, _ := strings.Cut(string(text), "\n## What a pick costs\n")
	for _, name := range sched.Names() {
		if want := "\n### " + name + "\n"; !strings.Contains(sections, want) {
			t.Errorf("%s lacks a section %q", document, want)
		}
		if want := "\n| `" + name + "` | "; !strings.Contains(costs, want) {
			t.Errorf("%s does not say what a pick of %s costs", document, name)
		}
	}
}
