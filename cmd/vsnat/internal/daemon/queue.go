package daemon

import (
	"sync/atomic"
	"syscall"

	"vsnat/cmd/vsnat/internal/latency"
	"vsnat/nat"
	"vsnat/nic"
	"vsnat/nic/merge"
)

// queue is one receive queue of a NIC, with the worker that judges its frames and
// what is measured of them.
type queue struct {
	dev    nic.Device
	worker *nat.Worker
	failed atomic.Bool // the device is gone

	// What is measured, replaced by control to begin anew. Of single services there
	// are none unless somebody asked.
	record   atomic.Pointer[latency.Record]
	services atomic.Pointer[serviceRecords]
}

// holds reports whether frames wait for a neighbour, or for the first fragment of
// their datagram.
func (q *queue) holds() bool { return !q.failed.Load() && q.worker.Held() > 0 }

// ports are a thread's ways out, by ifindex. A set is never changed: the
// manager gives the thread a new one when a NIC comes or goes.
type ports map[int]nic.Sender

// scratch is what a thread needs for the queue that it serves.
type scratch struct {
	batch  nic.Batch
	rest   []int // of what the worker let out, frames that are still to be sent
	frames [nic.MaxBatch]*nic.Frame
	which  [nic.MaxBatch]int
	errnos [nic.MaxBatch]syscall.Errno
	took   [nic.MaxBatch]int64
	slow   latency.Packet
	merger *merge.Merger // nil where frames are sent as they are
}

// send transmits what the worker let out: port by port, the frames of each in
// order.
func (s *scratch) send(w *nat.Worker, ways ports) {
	out := w.Out()
	if len(out) == 0 {
		return
	}
	s.rest = s.rest[:0]
	for i := range out {
		s.rest = append(s.rest, i)
	}
	for rest := s.rest; len(rest) > 0; {
		port, n := out[rest[0]].Port, 0
		others := rest[:0]
		for _, i := range rest {
			if out[i].Port != port || n == nic.MaxBatch {
				others = append(others, i)
				continue
			}
			s.frames[n], s.which[n] = out[i].Frame, i
			n++
		}
		s.transmit(w, ways[port], n)
		rest = others
	}
}

// transmit sends the first n of frames, by way of nothing if the port is gone.
func (s *scratch) transmit(w *nat.Worker, way nic.Sender, n int) {
	if way == nil {
		for i := range n {
			w.Failed(s.which[i], syscall.ENODEV)
		}
		return
	}
	frames, merged := s.frames[:n], s.merger != nil && n > 1
	if merged {
		frames = s.merger.Merge(frames)
	}
	if way.Send(frames, s.errnos[:]) == len(frames) {
		return
	}
	for i := range n {
		of := i
		if merged {
			of = s.merger.Of(i)
		}
		if s.errnos[of] != 0 {
			w.Failed(s.which[i], s.errnos[of])
		}
	}
}
