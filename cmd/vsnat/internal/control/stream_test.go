package control

import (
	"context"
	"runtime"
	"testing"
)

// TestMillionConnections lists a million connections, and looks now and then at
// how much memory both sides hold together: a small part of what the listing
// takes.
func TestMillionConnections(t *testing.T) {
	const most = 4 << 20
	conns := 1_000_000
	if racing {
		conns /= 10
	}
	d := &recorder{conns: conns}
	client := NewClient(start(t, d, defaultLimits))
	defer client.Close()
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, n := held(), 0
	for c, err := range client.Connections(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if c.State != "ESTABLISHED" {
			t.Fatalf("connection %d: %+v", n, c)
		}
		if n++; n%(conns/5) == 0 {
			if now := held(); now > before+most {
				t.Errorf("after %d connections %d bytes are held, at first %d", n, now, before)
			}
		}
	}
	if n != conns {
		t.Errorf("%d connections were listed, want %d", n, conns)
	}
}
