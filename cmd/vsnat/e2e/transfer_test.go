package e2e

import (
	"testing"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/daemon"
)

const bigFile = 20_000_000

// TestTransfers moves big files, three at once, with offloads as the kernel
// sets them, and checks that they passed in frames larger than the wire's. The
// hash counts: with offloads no checksum would tell a changed payload.
func TestTransfers(t *testing.T) {
	for _, tt := range []struct {
		name    string
		forward bool
	}{
		{"ip_forward=0", false},
		{"ip_forward=1", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, lab.PaperOptions{Forward: tt.forward})
			s.serveAll()
			d := s.direct()
			s.cluster("rr")

			before := d.nic("director-1").Stats
			s.together(3, s.download, bigFile)
			checkSuperFrames(t, "director-1", before, d.nic("director-1").Stats)

			before = d.nic("director-0").Stats
			s.together(3, s.upload, bigFile)
			checkSuperFrames(t, "director-0", before, d.nic("director-0").Stats)
		})
	}
}

// checkSuperFrames checks that three big files came in by a NIC, in fewer
// frames than there are full packets in them.
func checkSuperFrames(t *testing.T, name string, before, after daemon.NICStats) {
	t.Helper()
	frames, bytes := after.RxFrames-before.RxFrames, after.RxBytes-before.RxBytes
	if bytes < 3*bigFile {
		t.Errorf("%s took in %d bytes, fewer than were sent", name, bytes)
	}
	if frames >= bytes/1500 {
		t.Errorf("%s took in %d bytes in %d frames: none was larger than a packet of 1500 bytes", name, bytes, frames)
	}
	t.Logf("%s: %d bytes in %d frames", name, bytes, frames)
}
