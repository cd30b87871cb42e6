package alg

import (
	"sync"

	"vsnat/conntrack"
)

// MaxLine is the longest line in bytes that is kept, its end included. FTP's
// commands and replies that matter are a third of it.
const MaxLine = 256

// lineSlots is how many lines are kept at once. Hardly any sender sends a line in
// pieces, and those wait for a round trip at most.
const lineSlots = 64

// Lines keeps the beginnings of lines whose end has not come yet, one each for a
// direction of a connection. It is bounded: when it is full, the line that has
// waited longest is lost. Its methods may be called from any goroutine.
type Lines struct {
	mu   sync.Mutex
	slot [lineSlots]line // guarded by mu
}

type line struct {
	owner conntrack.Ref // 0 while it is free
	since int64
	next  uint32
	n     int
	text  [MaxLine]byte
}

// Line is the beginning of a line.
type Line struct {
	Text [MaxLine]byte
	N    int    // its length
	Next uint32 // the sequence number of what is to follow
}

// Load copies the line of that number, which Save returned, to l. It reports
// false when there is none: the number is 0, or the line was lost.
func (k *Lines) Load(owner conntrack.Ref, number uint8, l *Line) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.at(owner, number)
	if s == nil {
		return false
	}
	l.N, l.Next = copy(l.Text[:], s.text[:s.n]), s.next
	return true
}

// Save keeps l under that number if it still is the owner's, or under another
// one, which it returns.
func (k *Lines) Save(owner conntrack.Ref, number uint8, l *Line, now int64) uint8 {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.at(owner, number)
	if s == nil {
		oldest := 0
		for i := range k.slot {
			if k.slot[i].owner == 0 {
				oldest = i
				break
			}
			if k.slot[i].since < k.slot[oldest].since {
				oldest = i
			}
		}
		number = uint8(oldest + 1)
		s = &k.slot[oldest]
	}
	s.owner, s.since, s.next = owner, now, l.Next
	s.n = copy(s.text[:], l.Text[:l.N])
	return number
}

// Free forgets the line of that number.
func (k *Lines) Free(owner conntrack.Ref, number uint8) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.at(owner, number); s != nil {
		s.owner = 0
	}
}

func (k *Lines) at(owner conntrack.Ref, number uint8) *line {
	if number == 0 || int(number) > len(k.slot) || k.slot[number-1].owner != owner {
		return nil
	}
	return &k.slot[number-1]
}
