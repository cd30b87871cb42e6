package conntrack

import (
	"math/rand/v2"
	"testing"
)

func TestSeqAdj(t *testing.T) {
	var a SeqAdj
	if a.Moves() || a.Seq(5) != 5 || a.Ack(5) != 5 {
		t.Fatal("the zero value moves")
	}
	a.Resize(1000, 0)
	if a.Moves() {
		t.Fatal("a change of no size moves")
	}
	a.Resize(1000, 3)
	for _, tt := range []struct{ seq, want uint32 }{{900, 900}, {1000, 1000}, {1001, 1004}, {2000, 2003}} {
		if got := a.Seq(tt.seq); got != tt.want {
			t.Errorf("Seq(%d) = %d, want %d", tt.seq, got, tt.want)
		}
	}
	for _, tt := range []struct{ ack, want uint32 }{{900, 900}, {1000, 1000}, {1050, 1047}} {
		if got := a.Ack(tt.ack); got != tt.want {
			t.Errorf("Ack(%d) = %d, want %d", tt.ack, got, tt.want)
		}
	}
	again := a
	a.Resize(1000, 3)
	if a != again {
		t.Errorf("the same segment again: %+v", a)
	}
	a.Resize(900, 5)
	if a != again {
		t.Errorf("an earlier segment: %+v", a)
	}
	a.Resize(1100, -5)
	if want := (SeqAdj{1100, 3, -2}); a != want {
		t.Errorf("the second change: %+v, want %+v", a, want)
	}
}

// TestSeqAdjStream resizes segments of a stream that runs over the end of the
// sequence numbers, and holds each number to where its byte went.
func TestSeqAdjStream(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var a SeqAdj
		sent := -uint32(r.IntN(3000)) // wraps soon
		got := sent
		for range 50 {
			n := uint32(20 + r.IntN(400))
			diff := int32(r.IntN(25) - 12)
			if r.IntN(2) == 0 {
				diff = 0
			}
			a.Resize(sent, diff)
			if a.Seq(sent) != got {
				t.Fatalf("segment at %d begins at %d, want %d (%+v)", sent, a.Seq(sent), got, a)
			}
			sent += n
			got += n + uint32(diff)
			if a.Seq(sent) != got || a.Ack(got) != sent {
				t.Fatalf("its end %d is at %d and acknowledged as %d, want %d (%+v)", sent, a.Seq(sent), a.Ack(got), got, a)
			}
		}
	}
}

// TestSeqAdjLongStream sends more after a resizing than sequence numbers tell from
// what was before it.
func TestSeqAdjLongStream(t *testing.T) {
	var a SeqAdj
	a.Resize(1000, 28)
	for sent := uint64(1001); sent < 6<<30; sent += 100 << 20 {
		seq := uint32(sent)
		if a.Seq(seq) != seq+28 || a.Ack(seq+28) != seq {
			t.Fatalf("%d MiB behind: %d, %d", sent>>20, a.Seq(seq)-seq, a.Ack(seq+28)-seq)
		}
	}
}
