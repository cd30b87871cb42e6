package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A part is a process of a measurement: a generator of load, or the endpoint
// that it is for. It runs in a host of the lab, so that it shares neither
// memory nor garbage collector with anything else, and what it costs can be
// told apart. It is this same program, called as `vsnat bench part`, and speaks
// with the harness in lines of JSON: it reads a [PartSpec], writes a [Sample]
// when it works, one more for every further line it reads, and at the end of
// its input a [PartResult]. The first line after the spec begins what the
// result is about, the second ends it.

// Kinds of part.
const (
	PartServe = "serve" // the real servers' programs, all ports
	PartUDP   = "udp"   // frames with UDP packets, as fast as one thread can
	PartBulk  = "bulk"  // TCP connections that send without end
	PartRR    = "rr"    // requests and responses of 64 bytes over one connection
	PartHTTP  = "http"  // a new connection for every page
)

// PartSpec says what a part does. What a kind does not need is zero.
type PartSpec struct {
	Kind        string         `json:"kind"`
	Target      netip.AddrPort `json:"target"`
	Source      netip.Addr     `json:"source"` // the first of the clients' addresses
	Connections int            `json:"connections,omitempty"`
	// Of PartUDP: how many flows, packets a second (0 is as many as can be), the
	// length of an Ethernet frame in bytes, and the link.
	Flows  int     `json:"flows,omitempty"`
	Rate   float64 `json:"rate,omitempty"`
	Frame  int     `json:"frame,omitempty"`
	NIC    int     `json:"nic,omitempty"` // ifindex
	SrcMAC []byte  `json:"src_mac,omitempty"`
	DstMAC []byte  `json:"dst_mac,omitempty"`
	// CPUs are those that it may run on; none is all.
	CPUs []int `json:"cpus,omitempty"`
}

// Sample is how far a part is at some moment.
type Sample struct {
	Time    int64  `json:"time_ns"` // CLOCK_MONOTONIC, the same for all processes
	Count   uint64 `json:"count"`   // packets sent, requests answered
	Bytes   uint64 `json:"bytes"`   // of payload, acknowledged by the other side
	Errors  uint64 `json:"errors"`
	Retrans uint64 `json:"retransmitted"` // TCP segments
}

// PartResult is what a part has seen between the first two lines after its
// spec: how long requests took, in nanoseconds, and why any failed.
type PartResult struct {
	Latencies int            `json:"latencies"` // how many
	P50       int64          `json:"p50_ns"`
	P90       int64          `json:"p90_ns"`
	P99       int64          `json:"p99_ns"`
	Max       int64          `json:"max_ns"`
	Errors    map[string]int `json:"errors,omitempty"`
}

// part is one that works.
type part interface {
	// run works until stop is true.
	run(stop *atomic.Bool) error
	// sample fills in all but the time; called while run works.
	sample() Sample
	// result is called when run has returned.
	result() PartResult
}

// recording is set while what happens counts for a part's result.
type recording struct{ on atomic.Bool }

// Part is the process of a part.
func Part(ctx context.Context, in io.Reader, out io.Writer) error {
	lines := bufio.NewScanner(in)
	if !lines.Scan() {
		return errors.New("bench: a part needs its spec on standard input; `vsnat bench path` starts parts")
	}
	var spec PartSpec
	if err := json.Unmarshal(lines.Bytes(), &spec); err != nil {
		return fmt.Errorf("bench: part's spec: %w", err)
	}
	if err := pin(0, spec.CPUs); err != nil {
		return err
	}
	var rec recording
	p, err := newPart(&spec, &rec)
	if err != nil {
		return err
	}
	var stop atomic.Bool
	ended := make(chan error, 1)
	go func() { ended <- p.run(&stop) }()
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		for lines.Scan() {
			asked <- struct{}{}
		}
	}()
	enc := json.NewEncoder(out)
	for n := 0; ; n++ {
		s := p.sample()
		s.Time = monotonic()
		if err := enc.Encode(&s); err != nil {
			return err
		}
		select {
		case _, more := <-asked:
			if !more {
				stop.Store(true)
				err := <-ended
				return errors.Join(err, enc.Encode(p.result()))
			}
			rec.on.Store(n == 0)
		case err := <-ended:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func newPart(spec *PartSpec, rec *recording) (part, error) {
	switch spec.Kind {
	case PartServe:
		return newEndpoints()
	case PartUDP:
		return newFlood(spec)
	case PartBulk:
		return newBulk(spec)
	case PartRR:
		return newPingPong(spec, rec)
	case PartHTTP:
		return newPages(spec, rec)
	}
	return nil, fmt.Errorf("bench: there is no part %q", spec.Kind)
}

// monotonic returns CLOCK_MONOTONIC in nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // never fails
	return t.Nano()
}

// summarize makes a result of how long requests took. It sorts them.
func summarize(times []int64, failed map[string]int) PartResult {
	r := PartResult{Latencies: len(times), Errors: failed}
	if len(times) == 0 {
		return r
	}
	slices.Sort(times)
	at := func(q float64) int64 { return times[min(int(q*float64(len(times))), len(times)-1)] }
	r.P50, r.P90, r.P99, r.Max = at(0.5), at(0.9), at(0.99), times[len(times)-1]
	return r
}

// partPatience bounds every single wait of a part.
const partPatience = 5 * time.Second
