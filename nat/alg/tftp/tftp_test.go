package tftp

import (
	"testing"

	"vsnat/conntrack"
	"vsnat/nat/alg"
)

func TestPacket(t *testing.T) {
	c := conntrack.Conn{DestPort: 6969}
	var st alg.State
	for _, tt := range []struct {
		name       string
		fromServer bool
		payload    string
		port       uint16 // that the connection goes to from then on, 0 for the same
		await      bool
	}{
		{"data before any request", false, "\x00\x03\x00\x01x", 0, false},
		{"read", false, "\x00\x01file\x00octet\x00", 6969, true},
		{"answer", true, "\x00\x03\x00\x01x", 0, false},
		{"acknowledgment", false, "\x00\x04\x00\x01", 0, false},
		{"write", false, "\x00\x02file\x00octet\x00", 6969, true},
		{"a request from the server", true, "\x00\x01file\x00octet\x00", 0, false},
		{"another operation", false, "\x01\x01", 0, false},
		{"one byte", false, "\x00", 0, false},
		{"nothing", false, "", 0, false},
	} {
		s := alg.Segment{FromServer: tt.fromServer, Conn: &c, State: &st}
		s.Reset()
		s.Payload = []byte(tt.payload)
		Helper{}.Packet(&s)
		if s.ServerPort != tt.port || s.AwaitPort != tt.await {
			t.Errorf("%s: port %d, await %v", tt.name, s.ServerPort, s.AwaitPort)
		}
		if tt.fromServer {
			c.DestPort = 41000 // as the engine does with the answer
		}
	}
}
