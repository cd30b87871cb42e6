package conformance

import "testing"

// In sessions of FTP every packet of a control connection and of a data connection
// goes through: without a helper no data connection does.
func TestFTPSessions(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		r := Generate(Config{Scheduler: FTP, Seed: 3, Steps: 1500, IPv6: v6})
		data := 0
		for i, seen := range recordEngine(t, &r, 1, nil) {
			s := &r.Steps[i]
			if s.Op != FromClient && s.Op != FromServer {
				continue
			}
			if len(seen.Out) != 1 {
				t.Fatalf("IPv6 %v, step %d (%s): %v left", v6, i+1, s, seen.Out)
			}
			if s.Packet.Virtual.Port() != 21 {
				data++
			}
		}
		if data < 300 {
			t.Errorf("IPv6 %v: %d packets of data connections", v6, data)
		}
	}
}
