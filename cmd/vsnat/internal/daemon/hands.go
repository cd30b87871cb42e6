package daemon

import (
	"slices"
	"time"

	"vsnat/nic"
	"vsnat/nic/afpacket"
	"vsnat/nic/merge"
)

// hand is a thread as control sees it. nics.mu guards it.
type hand struct {
	*thread
	number  int         // among those that are not alone
	ways    map[int]way // out, by ifindex
	list    []*queue    // that it serves, or will once it has its ways out
	alone   bool        // its only queue's device can only be waited for by itself
	started bool
}

// handsFor returns the threads that are to serve the queues of a NIC. Queues of the
// same number have the same thread, whichever NIC they are of.
func (n *nics) handsFor(devs []nic.Device) (all []*hand, err error) {
	for i, dev := range devs {
		number := i % max(n.d.cfg.Threads, 1)
		if len(devs) == 1 {
			number = n.least()
		}
		h, err := n.handFor(dev, number)
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// least returns the number of the thread with the fewest queues.
func (n *nics) least() int {
	count := make([]int, max(n.d.cfg.Threads, 1))
	for _, h := range n.hands {
		if !h.alone {
			count[h.number] = len(h.list)
		}
	}
	return slices.Index(count, slices.Min(count))
}

// handFor returns the thread of that number, or one for this device alone.
func (n *nics) handFor(dev nic.Device, number int) (*hand, error) {
	_, polled := dev.(nic.Polled)
	for _, h := range n.hands {
		if polled && !h.alone && h.number == number {
			return h, nil
		}
	}
	sleeper, err := newSleeper()
	if err != nil {
		return nil, err
	}
	d := n.d
	h := &hand{number: number, ways: map[int]way{}, alone: !polled, thread: &thread{
		epoch: d.epoch, ask: d.ask, log: d.log, done: make(chan struct{}), sleeper: sleeper, spin: spin{bound: d.cfg.Spin},
		scratch: scratch{merger: d.merger()},
	}}
	h.queues.Store(&[]*queue{})
	h.ports.Store(&ports{})
	n.hands = append(n.hands, h)
	return h, nil
}

// merger returns what merges the frames of one thread, or nil.
func (d *daemon) merger() *merge.Merger {
	if !d.cfg.Merge {
		return nil
	}
	return &merge.Merger{Datagrams: afpacket.TakesDatagrams()}
}

// give has the thread serve a queue, once it is admitted.
func (h *hand) give(q *queue) { h.list = append(h.list, q) }

// admit has the thread serve what it was given.
func (h *hand) admit() {
	if !slices.Equal(*h.queues.Load(), h.list) {
		h.setQueues()
	}
	if !h.started {
		h.started = true
		go h.run()
	}
}

// setQueues has the thread serve the queues that it has now.
func (h *hand) setQueues() {
	list := slices.Clone(h.list)
	h.queues.Store(&list)
	h.sleeper.kick()
}

// setPorts has the thread use the ways that there are now.
func (h *hand) setPorts() {
	set := make(ports, len(h.ways))
	for index, w := range h.ways {
		set[index] = w.sender
	}
	h.ports.Store(&set)
	h.sleeper.kick()
}

// dismiss takes the NICs' queues away from their threads, and returns when no thread
// touches them any more. Threads without queues end.
func (n *nics) dismiss(gone []*taken) {
	var left, idle []*hand
	for _, h := range n.hands {
		before := len(h.list)
		h.list = slices.DeleteFunc(h.list, func(q *queue) bool {
			return slices.ContainsFunc(gone, func(t *taken) bool { return slices.Contains(t.queues, q) })
		})
		switch {
		case len(h.list) == 0:
			h.stop.Store(true)
			h.sleeper.kick()
			idle = append(idle, h)
		case len(h.list) < before && h.started:
			h.setQueues()
			left = append(left, h)
		}
	}
	quiesce(left)
	for _, h := range idle {
		if h.started {
			<-h.done
		}
		n.d.warn("thread", h.sleeper.close())
		for _, w := range h.ways {
			n.d.warn("NIC", w.Close())
		}
	}
	n.hands = slices.DeleteFunc(n.hands, func(h *hand) bool { return slices.Contains(idle, h) })
}

// quiesce waits until the turns that the threads may be in are over, so that they
// use none of the queues and ports that they had then. All were told before, so that
// their turns end at the same time.
func quiesce(all []*hand) {
	ended := make([]uint64, len(all))
	for i, h := range all {
		ended[i] = h.turns.Load()
	}
	for i, h := range all {
		for h.started && h.turns.Load() == ended[i] {
			select {
			case <-h.done:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}
}

// threads returns the numbers of the threads.
func (n *nics) threads() (all []int32) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, h := range n.hands {
		if tid := h.tid.Load(); tid != 0 {
			all = append(all, tid)
		}
	}
	return all
}

// busy reports whether there was a frame less than d ago.
func (n *nics) busy(d time.Duration) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	since := time.Since(n.d.epoch) - d
	return slices.ContainsFunc(n.hands, func(h *hand) bool { return h.thread.busy.Load() > int64(since) })
}
