package e2e

import (
	"strconv"
	"strings"
	"testing"

	"vsnat/bench/lab"
	"vsnat/cmd/vsnat/internal/daemon"
)

// TestRates has traffic appear in the rates, and vanish from the counters with -Z.
func TestRates(t *testing.T) {
	s := newSite(t, lab.PaperOptions{})
	s.serveAll()
	s.direct()
	s.cluster("rr")
	listed := func(what string) (service []string) {
		for line := range strings.Lines(s.ipvsadm("-Ln --exact --" + what)) {
			if strings.HasPrefix(line, "TCP  "+web) {
				return strings.Fields(line)[2:]
			}
		}
		t.Fatal("the service is not listed")
		return nil
	}
	if got := strings.Join(listed("rate"), " "); got != "0 0 0 0 0" {
		t.Errorf("before any packet: %s", got)
	}
	s.eventually("the rates tell of the traffic", func() bool {
		s.pages(20)
		r := listed("rate")
		out, err := strconv.Atoi(r[4])
		return err == nil && out > 1000 && r[0] != "0" && r[1] != "0" && r[2] != "0" && r[3] != "0"
	})
	if total := report[daemon.Status](s, "status").Total; total.OutBPS == 0 || total.CPS == 0 {
		t.Errorf("in total: %+v", total)
	}
	s.ipvsadm("-Z")
	if c := listed("stats"); c[0] != "0" {
		t.Errorf("after -Z: %v", c)
	}
}
