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
	slot [lineSlots]kept // guarded by mu
}

type kept struct {
	owner      conntrack.Ref // 0 while it is free
	fromServer bool
	since      int64
	line       Line
}

// Line is the beginning of a line.
type Line struct {
	Text [MaxLine]byte
	N    int // its length
}

// Load copies the connection's line to l. It reports false when there is none any
// more.
func (k *Lines) Load(owner conntrack.Ref, fromServer bool, l *Line) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.find(owner, fromServer)
	if s == nil {
		return false
	}
	l.N = copy(l.Text[:], s.line.Text[:s.line.N])
	return true
}

// Save keeps l as the connection's line, instead of the one there is.
func (k *Lines) Save(owner conntrack.Ref, fromServer bool, l *Line, now int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := k.find(owner, fromServer)
	if s == nil {
		s = &k.slot[0]
		for i := range k.slot {
			if k.slot[i].owner == 0 {
				s = &k.slot[i]
				break
			}
			if k.slot[i].since < s.since {
				s = &k.slot[i]
			}
		}
	}
	s.owner, s.fromServer, s.since = owner, fromServer, now
	s.line.N = copy(s.line.Text[:], l.Text[:l.N])
}

// Free forgets the connection's line.
func (k *Lines) Free(owner conntrack.Ref, fromServer bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if s := k.find(owner, fromServer); s != nil {
		s.owner = 0
	}
}

func (k *Lines) find(owner conntrack.Ref, fromServer bool) *kept {
	for i := range k.slot {
		if s := &k.slot[i]; s.owner == owner && s.fromServer == fromServer {
			return s
		}
	}
	return nil
}
