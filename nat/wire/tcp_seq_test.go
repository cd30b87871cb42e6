package wire

import (
	"encoding/binary"
	"testing"
)

// segment is a TCP segment with options and its checksum right.
func segment(t testing.TB, opts, payload []byte) TCP {
	t.Helper()
	for len(opts)%4 != 0 {
		opts = append(opts, tcpOptEnd)
	}
	b := make(TCP, TCPMinLen+len(opts)+len(payload))
	b.Encode(&TCPFields{SrcPort: 21, DstPort: 40000, Seq: 0xfffffff0, Ack: 77, Flags: ACK, Window: 9})
	b[tcpDataOff] = byte((TCPMinLen + len(opts)) / 4 << 4)
	copy(b[TCPMinLen:], opts)
	copy(b[TCPMinLen+len(opts):], payload)
	b.SetChecksum(^Fold(Sum(b, PseudoSum4([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}, ProtoTCP, len(b)))))
	return b
}

func sack(edges ...uint32) []byte {
	o := []byte{tcpOptSACK, byte(2 + 4*len(edges))}
	for _, e := range edges {
		o = binary.BigEndian.AppendUint32(o, e)
	}
	return o
}

func TestMoveSequenceNumbers(t *testing.T) {
	plus := func(n uint32) func(uint32) uint32 { return func(v uint32) uint32 { return v + n } }
	for _, tt := range []struct {
		name string
		opts []byte
		ok   bool
		want []byte // options after all edges were moved by 1000
	}{
		{"none", nil, true, nil},
		{"one block", append([]byte{1, 1}, sack(5, 10)...), true, append([]byte{1, 1}, sack(1005, 1010)...)},
		{"three blocks, at an odd offset", append([]byte{1}, sack(5, 10, 0xffffffff, 20, 25, 30)...), true, append([]byte{1}, sack(1005, 1010, 999, 1020, 1025, 1030)...)},
		{"behind a timestamp", append([]byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, sack(1, 2)...), true, append([]byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, sack(1001, 1002)...)},
		{"behind the end", append([]byte{0}, sack(1, 2)...), true, append([]byte{0}, sack(1, 2)...)},
		{"no whole block", []byte{5, 6, 1, 2, 3, 4}, true, []byte{5, 6, 1, 2, 3, 4}},
		{"length 0", []byte{5, 0, 1, 1}, false, nil},
		{"longer than the header", []byte{5, 40, 1, 1}, false, nil},
		{"no length", []byte{1, 1, 1, 5}, false, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := segment(t, tt.opts, []byte("odd"))
			if ok := b.MoveSACK(plus(1000), false); ok != tt.ok {
				t.Fatalf("MoveSACK: %v", ok)
			}
			b.MoveSeq(5, false)
			b.MoveAck(0xfffffffe, false)
			if !b.ChecksumOK4([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}) {
				t.Error("the checksum is wrong")
			}
			if b.Seq() != 5 || b.Ack() != 0xfffffffe {
				t.Errorf("seq %d, ack %d", b.Seq(), b.Ack())
			}
			if got := string(b[TCPMinLen:][:len(tt.want)]); got != string(tt.want) {
				t.Errorf("options %x, want %x", got, tt.want)
			}
		})
	}
	b := segment(t, sack(1, 2), nil)
	before := b.Checksum()
	b.MoveSeq(1, true)
	b.MoveAck(1, true)
	b.MoveSACK(plus(9), true)
	if b.Checksum() != before {
		t.Error("a partial checksum changed with what its pseudo-header does not have")
	}
}

func FuzzMoveSACK(f *testing.F) {
	f.Add(append([]byte{1, 1}, sack(5, 10)...), []byte("x"))
	f.Add([]byte{5, 0, 3}, []byte{})
	f.Fuzz(func(t *testing.T, opts, payload []byte) {
		opts = opts[:min(len(opts), 40)]
		b := segment(t, opts, payload[:min(len(payload), 100)])
		b.MoveSACK(func(v uint32) uint32 { return v - 3 }, false)
		if !b.ChecksumOK4([4]byte{10, 0, 0, 1}, [4]byte{10, 0, 0, 2}) {
			t.Fatal("the checksum is wrong")
		}
	})
}
