package daemon

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"vsnat/cmd/vsnat/internal/control"
	"vsnat/nat"
	"vsnat/nic"
)

// Status is the report of what the director does now.
type Status struct {
	Version     string        `json:"version"`
	Uptime      float64       `json:"uptime_s"`
	Guard       string        `json:"guard"`
	Services    int           `json:"services"`
	Connections Connections   `json:"connections"`
	Total       control.Stats `json:"total"` // of all services
	NICs        []NIC         `json:"nics"`
}

// Connections is how full the connection table is.
type Connections struct {
	Now   int `json:"now"`
	Max   int `json:"max"`
	Bytes int `json:"bytes"` // of memory held
}

// NIC is one NIC's part of a Status.
type NIC struct {
	Name  string   `json:"name"`
	Index int      `json:"index"`
	Stats NICStats `json:"stats"`
}

// NICStats are a NIC's counters: [nic.Stats].
type NICStats struct {
	RxFrames  uint64 `json:"rx_frames"`  // handed to the worker
	RxBytes   uint64 `json:"rx_bytes"`   // of those, Ethernet header included
	RxDropped uint64 `json:"rx_dropped"` // by the kernel, because the ring was full
	RxCut     uint64 `json:"rx_cut"`     // longer than there was memory for
	TxFrames  uint64 `json:"tx_frames"`
	TxBytes   uint64 `json:"tx_bytes"`
	TxErrors  uint64 `json:"tx_errors"` // frames that were not sent
	TxMerged  uint64 `json:"tx_merged"` // frames that were sent as part of one of tx_frames (vsnat run --merge), itself not among them
}

func (s *NICStats) addReceived(more nic.Stats) {
	s.RxFrames += more.RxFrames
	s.RxBytes += more.RxBytes
	s.RxDropped += more.RxDropped
	s.RxCut += more.RxCut
}

func (s *NICStats) addSent(more nic.Stats) {
	s.TxFrames += more.TxFrames
	s.TxBytes += more.TxBytes
	s.TxErrors += more.TxErrors
	s.TxMerged += more.TxMerged
}

// Drops is the report of what became of every frame, by NIC.
type Drops struct {
	NICs    []NICDrops        `json:"nics"`
	Reasons map[string]string `json:"reasons"` // what each reason that occurs means
}

// NICDrops is one NIC's ledger: Received = Forwarded + Replied + Passed + Held +
// the sum of Dropped. RingFull are frames lost before that.
type NICDrops struct {
	Name      string            `json:"name"`
	Received  uint64            `json:"received"`
	Forwarded uint64            `json:"forwarded"`
	Replied   uint64            `json:"replied"`
	Passed    uint64            `json:"passed"`
	Held      uint64            `json:"held"`
	Dropped   map[string]uint64 `json:"dropped"`
	RingFull  uint64            `json:"ring_full"`
	Balanced  bool              `json:"balanced"`
}

// Report implements [control.Director].
func (d *daemon) Report(name control.Report) (any, error) {
	switch name {
	case control.StatusReport:
		return d.status(), nil
	case control.DropsReport:
		return d.nics.drops(), nil
	case control.LatencyReport:
		d.clocks.look(time.Now(), d.nics.threads())
		return d.nics.latency(d.cfg.Budget, time.Now()), nil
	}
	return nil, fmt.Errorf("daemon: no report %q", name)
}

func (d *daemon) status() Status {
	t, total, rates := d.engine.Table(), d.engine.Total(), d.engine.Rates()
	return Status{
		Version: Version, Uptime: time.Since(d.epoch).Seconds() - 1, Guard: d.guardKind(),
		Services:    len(d.Services()),
		Connections: Connections{Now: t.Len(), Max: t.Max(), Bytes: t.Bytes()},
		Total:       stats(&total, &rates),
		NICs:        d.nics.list(),
	}
}

func (n *nics) list() []NIC {
	all := []NIC{}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, t := range n.sorted() {
		var s NICStats
		for _, q := range t.queues {
			s.addReceived(q.dev.Stats())
		}
		for _, h := range n.hands {
			if tx := h.ways[t.index]; tx.to != nil {
				s.addSent(tx.Stats())
			}
		}
		all = append(all, NIC{Name: t.name, Index: t.index, Stats: s})
	}
	return all
}

func (n *nics) drops() Drops {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := maps.Clone(n.past)
	for _, t := range n.taken {
		all[t.name] = n.total(t)
	}
	report := Drops{Reasons: map[string]string{}, NICs: []NICDrops{}}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		l := all[name].ledger
		nd := NICDrops{
			Name: name, Received: l.Received, Forwarded: l.Forwarded, Replied: l.Replied,
			Passed: l.Passed, Held: l.Held, Dropped: map[string]uint64{}, RingFull: all[name].ringFull, Balanced: l.Balanced(),
		}
		for r := range nat.NumReasons {
			if l.Dropped[r] != 0 {
				nd.Dropped[r.String()] = l.Dropped[r]
				report.Reasons[r.String()] = r.Help()
			}
		}
		report.NICs = append(report.NICs, nd)
	}
	return report
}
